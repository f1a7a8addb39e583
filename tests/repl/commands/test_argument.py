"""Arguments and seeds, as they are typed."""

from __future__ import annotations

from pathlib import Path

from tests.repl.conftest import FLUX, Shell


def test_arguments_take_the_declared_type(shell: Shell) -> None:
    shell.say("load FluxDev", "arg prompt=30 steps=30 sharp=yes")
    assert shell.session.workflow.overrides == {"prompt": "30", "steps": 30, "sharp": True}


def test_arguments_are_set_all_or_none(shell: Shell) -> None:
    shell.say("load FluxDev")
    assert shell.say("arg prompt=fox steps=abc stpes=3").splitlines() == [
        "error: steps must be an integer, got 'abc';"
        " FluxDev has no argument 'stpes' (did you mean 'steps'?)",
        "  arg   lists the arguments; nothing was changed",
    ]
    assert shell.session.workflow.overrides == {}


def test_a_value_with_blanks_asks_for_quotes(shell: Shell) -> None:
    shell.say("load FluxDev")
    assert shell.say("arg model=a red fox").splitlines() == [
        "error: unexpected argument 'red'",
        '  quote a value that has blanks in it: model="a red fox"',
    ]


def test_arg_shows_a_table(shell: Shell) -> None:
    shell.say("load FluxDev", "arg steps=30")
    assert shell.say("arg").splitlines() == [
        "  argument  type     value        default",
        "  prompt    text     a cat",
        "  steps*    integer  30           25",
        "  sharp     boolean  false",
        "  model     text     nobody/tiny",
        "  seed      integer  random",
    ]
    assert shell.say("arg steps") == "30\n"


def test_arguments_go_back_to_their_defaults(shell: Shell) -> None:
    shell.say("load FluxDev", "arg prompt=fox steps=30 seed=1", "arg -steps")
    assert shell.session.workflow.changed() == {"prompt": "fox", "seed": 1}
    shell.say("arg reset")
    assert shell.session.workflow.changed() == {}
    assert shell.code("arg -stpes") == 2


def test_what_was_set_is_told_to_whoever_typed_it(shell: Shell) -> None:
    shell.say("load FluxDev")
    assert shell.say('arg prompt="a fox" steps=3 sharp=yes') == (
        'prompt = "a fox"\nsteps = 3\nsharp = true\n'
    )
    assert shell.say("arg -steps") == "steps = 25 (default)\n"
    assert shell.say("arg reset").splitlines() == [
        'prompt = "a cat" (default)',
        "sharp = false (default)",
    ]
    assert shell.say("config timeout=9 rehearse=on") == "timeout = 9\nrehearse = on\n"


def test_an_argument_is_found_by_one_of_its_words(shell: Shell) -> None:
    shell.edit(variables=FLUX["variables"] | {"num_inference_steps": 9})
    shell.say("load FluxDev", "arg -steps")
    assert "(did you mean 'num_inference_steps'?)" in shell.say("run inference=4")


def test_a_text_comes_from_a_file(shell: Shell) -> None:
    Path("fox.txt").write_text("a red\nfox\n")
    Path("n.json").write_text("12")
    shell.say("load FluxDev", "arg prompt=@fox.txt steps:=@n.json")
    assert shell.session.workflow.overrides == {"prompt": "a red\nfox", "steps": 12}


def test_a_file_that_is_no_text_is_refused_with_the_way_to_pass_its_path(shell: Shell) -> None:
    Path("cat.png").write_bytes(b"\x89PNG\xff")
    assert "prompt=cat.png   passes the path" in shell.say("load FluxDev", "arg prompt=@cat.png")
    assert shell.code("arg prompt=@nothing.txt") == 2


def test_a_seed_is_taken_though_the_workflow_declares_none(shell: Shell) -> None:
    shell.say("load FluxDev", "arg seed=7", "run")
    assert shell.last_run.seed == 7
    assert "seed" not in shell.last_run.arguments


def test_a_declared_seed_is_an_argument_like_any_other(shell: Shell) -> None:
    shell.edit(variables=FLUX["variables"] | {"seed": 1})
    shell.say("load FluxDev", "run seed=7")
    assert shell.last_run.seed is None
    assert shell.last_run.arguments["seed"] == 7


def test_seeds_are_numbers_random_or_last(shell: Shell) -> None:
    shell.say("load FluxDev")
    assert "seed cannot be last: there was no run yet" in shell.say("run seed=last")
    shell.say("run seed=9", "run seed=last")
    assert shell.last_run.seed == 9
    shell.say("run seed=random")
    assert shell.last_run.seed not in (None, 9)
    assert [shell.code(f"arg seed={text}") for text in ("x", "-1", "1.5", "4294967296", "1e3")] == [
        2
    ] * 5


def test_a_seed_out_of_range_is_refused_with_what_to_do(shell: Shell) -> None:
    shell.edit(variables=FLUX["variables"] | {"s": None}, seed="variable:s")
    shell.say("load FluxDev")
    for name in ("seed", "s"):
        assert "must be an integer from 0 to 4294967295" in shell.say(f"arg {name}=-1"), (
            "a declared one as well"
        )
        assert "; without a seed each run draws one" in shell.say(f"run {name}=-1")
        assert "got 4294967303; 7 draws the same" in shell.say(f"arg {name}=4294967303")
    assert "got -1" in shell.say("run seed=-1..1"), "in a sweep before its first run"
    shell.say("run s=4294967295")
    assert shell.last_run.arguments["s"] == 2**32 - 1
