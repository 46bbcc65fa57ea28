"""Luigi's visualiser as it is served."""

from luigi_ha.appliance.api.files import _AS_TEXT, as_text, static_file


def test_what_is_replaced_in_its_script_is_there_and_there_is_no_link_to_pages_that_are_not() -> None:
    file = static_file("visualiser/js/visualiserApp.js")
    original, served = file.read_text("utf-8"), as_text(file)
    assert served is not None
    for before, after in _AS_TEXT:
        assert original.count(before) == 1, before
        assert before not in served.decode()
        assert after in served.decode()
    assert 'href: "../../history"' in original
    assert "if (hasTaskHistory)" not in served.decode()  # the condition of the link to them
