"""Leadership in etcd: one key under a lease, over a transport that survives the loss of members.

* `transport`: the port: the few calls that an election needs, as typed values
* `gateway`, `gateway_stream`: its implementation over etcd's JSON gateway, with aiohttp
* `wire`: requests and replies as JSON
* `grpc`, `grpc_stream`, `channels`: its implementation over gRPC
* `messages`, `grpc_library`: requests and replies as protobuf, and the optional package they come from
* `endpoints`, `tokens`, `stream`, `handshake`: what both share: whom to ask, being let in, a watch, why TLS refuses
* `failures`: which of etcd's errors is definitive, unknown or fatal
* `config`: endpoints, certificates, user
* `watch`: following a prefix without losing an event
* `spread`: keeping etcd's own leader off a host
* `keys`: the keys of one election, and what they say
* `elector`: the port of leadership (`luigi_ha.ha.elector`) on a transport
* `presence`: being seen as a member
* `wishes`: what others than the leader may write
* `opening`: all of it put together
"""
