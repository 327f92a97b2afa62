import pytest

from tinygrad_vi.show import render

shutil_which = render.shutil.which


@pytest.fixture(params=["with dot", "without dot"])
def renderer(request, monkeypatch):
    if request.param == "without dot":
        monkeypatch.setattr(render.shutil, "which", lambda name: None)
    elif not shutil_which("dot"):
        pytest.skip("the program dot is not installed; the other half of these tests runs without it")
