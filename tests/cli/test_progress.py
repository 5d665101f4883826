import io

from rich.console import Console

from posecli.cli import _progress


def test_a_line_is_told_above_the_bar_and_not_in_it(monkeypatch):
    screen = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr(_progress, "Console", lambda **_: screen)
    monkeypatch.setenv("TERM", "xterm")

    with _progress.progress_bar("frames", total=3) as bar:
        bar(1, "2 people")
        bar.tell("[a].mp4: " + "no such file or folder " * 5)

    lines = screen.file.getvalue().replace("\r", "\n").split("\n")
    assert any(line.endswith("no such file or folder ") and "[a].mp4: " in line for line in lines)
    assert not any("people" in line and "[a].mp4" in line for line in lines)


def test_nobody_watching_means_no_bar(monkeypatch, capsys):
    monkeypatch.setattr(_progress, "Console", lambda **_: Console(file=io.StringIO()))

    with _progress.progress_bar("frames", total=3) as bar:
        bar(1)
        bar.tell("a line")

    assert capsys.readouterr().err == "a line\n"
