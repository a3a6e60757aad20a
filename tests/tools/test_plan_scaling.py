"""The scaling page says which rows could not be planned, and has the others."""

from gsid_jax.errors import UserError
from tools import plan_scaling

PROGRAM = {"mesh": "8x1", "fits": True, "memory": {"total": 2**31}, "flops": 2e12,
           "collectives": [{"bytes": 2**20}],
           "seconds": {"compute": 0.01, "memory": 0.02, "collectives": 0.03, "step": 0.05,
                       "at_best": 0.03},
           "epoch": {"hours": 1.5, "chip_hours": 48.0}}


def planned(directory, topology, level, batch, options=()):
    if topology.startswith("h100"):
        raise UserError("python -m tools.plan_launch failed: RET_CHECK failure")
    return {"topology": topology, "chips": 8, "level": level, "batch_size": batch,
            "programs": [PROGRAM]}


def test_a_row_that_cannot_be_planned_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(plan_scaling, "plan", planned)
    page = tmp_path / "scaling.md"
    assert plan_scaling.main([f"--output_dir={tmp_path}", f"--report={page}"]) == 0
    text = page.read_text()
    assert text.count("| 2.00 | 2.000 | 1 | 10.0 | 20.0 | 30.0 | 50.0 | 30.0 |") == 9
    assert "| v5e:16x16 | 8 | 4 | 4,096 | 50.0 | 1.50 | 48 |" in text
    assert "| h100:32 | - | 4 | 4,096 | not planned: RET_CHECK failure | - | - |" in text
    assert "warning: python -m tools.plan_launch failed" in capsys.readouterr().err


def test_a_plan_that_fails_elsewhere_stops_the_page(tmp_path, monkeypatch, capsys):
    def fails(*args, **kwargs):
        raise UserError("libtpu is not installed")
    monkeypatch.setattr(plan_scaling, "plan", fails)
    page = tmp_path / "scaling.md"
    assert plan_scaling.main([f"--output_dir={tmp_path}", f"--report={page}"]) == 1
    assert "error: libtpu is not installed" in capsys.readouterr().err and not page.exists()
