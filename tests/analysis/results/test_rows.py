from ream.analysis.results.rows import Row, beside, in_mixes, mix_name, same_model


def row(**changes):
    return Row(**({"origin": "ours", "model": "m", "method": "ream", "experts": 8} | changes))


def test_mixes_of_the_same_shares_have_one_key():
    one = row(ratios={"general": 0.3, "math": 0.3, "code": 0.0})
    assert one.mix_key == row(ratios={"math": 5.0, "general": 5.0}).mix_key
    assert one.mix_key != row(ratios={"general": 0.3, "math": 0.2}).mix_key
    assert (one.mix, in_mixes(one), in_mixes(row(ratios={"math": 1.0, "code": 0})), in_mixes(row())) == (
        "0.3:0.3:0", True, False, False
    )  # fmt: skip


def test_names_of_mixes():
    assert mix_name(row(ratios={"code": 1, "math": 1, "general": 1})) == "balanced"
    assert mix_name(row(ratios={"general": 2, "math": 2.5, "code": 5.5})) == "code-leaning"
    assert mix_name(row(ratios={"general": 0.5, "math": 0.5})) == ""
    assert mix_name(row()) == ""


def test_models_are_the_same_if_the_last_parts_of_their_names_agree():
    assert same_model("Qwen/Qwen3-Coder-Next@main", "qwen3-coder-next")
    assert same_model("/models/Qwen3-Coder-Next/", "Qwen/Qwen3-Coder-Next")
    assert not same_model("Qwen/Qwen3-Coder-Next", "Qwen3-Next-80B-A3B-Instruct")


def test_published_rows_stand_beside_ours_of_the_same_model_only():
    printed = [row(origin="paper", model="m"), row(origin="paper", model="other")]
    mine = row(model="org/m@main")
    assert beside([mine], printed) == [mine, row(origin="paper", model="org/m@main")]
    assert beside([row(model="demo")], printed) == [row(model="demo")]
    assert beside([], printed) == printed
