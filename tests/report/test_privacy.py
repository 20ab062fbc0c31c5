from medcnn.report import privacy


def test_private_words() -> None:
    assert privacy.command(["python"]) == ""
    words = ["C:\\Anna\\python.exe", "C:\\Anna\\medcnn\\evaluate.py", "run=C:\\Anna", "a b=c d"]
    assert privacy.command(words) == "python.exe -m medcnn.evaluate run=PATH 'a b=c d'"
    words = ["python", "tool.py", "/x/y", "plain", "wandb.entity=anna", "+logger.name=x", "lr=0.1"]
    rest = "plain wandb.entity=HIDDEN +logger.name=PATH lr=0.1"
    assert privacy.command(words) == f"python tool.py PATH {rest}"
    shown = privacy.config({"a": ["x/y", 1, {"user": "anna", "token": None}], "b": "list.csv"})
    assert shown == {"a": ["PATH", 1, {"user": "HIDDEN", "token": None}], "b": "PATH"}
    text = "and/or, 3/4 of ~/x, C:\\Anna\\x.csv; ./y and ../z"
    assert privacy.without_paths(text) == "and/or, 3/4 of PATH, PATH; PATH and PATH"
