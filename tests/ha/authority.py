"""A certificate authority of the openssl command line, in a directory that the servers' user can read."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.etcd import Tls
from tests.support.patience import patient

OPENSSL_CA = """
[ca]
default_ca = ours
[ours]
new_certs_dir = .
database = index.txt
serial = serial
default_md = sha256
policy = any
unique_subject = no
[any]
organizationName = supplied
commonName = optional
[req]
distinguished_name = dn
[dn]
"""


@dataclass
class Authority:
    """A certificate authority of the openssl command line."""

    directory: Path

    def __post_init__(self) -> None:
        self.directory.mkdir()
        (self.directory / "ca.cnf").write_text(OPENSSL_CA)
        (self.directory / "index.txt").write_text("")
        (self.directory / "serial").write_text("01")
        self._run("req", "-x509", *self._key("ca"), "-out", "ca.pem", "-subj", "/O=luigi-ha tests", "-days", "2",
                  "-addext", "basicConstraints=critical,CA:TRUE")  # fmt: skip

    @property
    def certificate(self) -> Path:
        return self.directory / "ca.pem"

    def issue(self, name: str, host: str = "IP:127.0.0.1", *, expired: bool = False, common: str = "") -> Tls:
        """A certificate for both sides; with a common name only if one is given."""
        (self.directory / "ext.cnf").write_text(
            f"subjectAltName={host}\nextendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=CA:FALSE\n"
        )
        subject = f"/O={name}" + (f"/CN={common}" if common else "")
        self._run("req", "-new", *self._key(name), "-out", f"{name}.csr", "-subj", subject, "-config", "ca.cnf")
        days = ["-startdate", "20200101000000Z"] + (["-enddate", "20200201000000Z"] if expired else ["-days", "9999"])
        self._run("ca", "-batch", "-notext", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key", *days,
                  "-in", f"{name}.csr", "-out", f"{name}.pem", "-extfile", "ext.cnf")  # fmt: skip
        (self.directory / f"{name}.key").chmod(0o644)
        return Tls(self.directory / f"{name}.pem", self.directory / f"{name}.key", self.certificate)

    def _key(self, name: str) -> list[str]:
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key"]

    def _run(self, *command: str) -> None:
        subprocess.run(["openssl", *command], cwd=self.directory, check=True, capture_output=True, timeout=patient(20))
