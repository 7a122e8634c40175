"""A broken file disables its own stream, visibly, and no other."""

from __future__ import annotations

from tests.dags.conftest import Parse, Project, stream


def test_a_broken_file_is_a_visible_dag_and_the_others_run(project: Project, parse: Parse) -> None:
    project.add("pumps", stream(project.root))
    project.add("bad", "kind: sensor\nsauce: 3\n")
    project.add("worse", "kind: [unclosed\n")
    bag = parse()
    assert bag.import_errors == {}
    assert {"score__pumps", "broken__bad", "broken__worse"} <= set(bag.dags)
    assert not [d for d in bag.dags if d.endswith(("__bad", "__worse")) and not d.startswith("broken__")]
    broken = bag.dags["broken__bad"]
    assert "offbeat-broken" in broken.tags
    assert "bad.yaml" in broken.doc_md
    assert "sauce" in broken.doc_md


def test_the_broken_dag_fails_with_what_has_to_be_mended(project: Project, parse: Parse) -> None:
    project.add("bad", "kind: sensor\nsauce: 3\n")
    run = parse().dags["broken__bad"].test()
    (task,) = run.get_task_instances()
    assert (run.state, task.state, task.try_number) == ("failed", "failed", 1)


def test_a_stream_with_an_impossible_name_still_shows(project: Project, parse: Parse) -> None:
    project.add("Ünglücklich (copy)", "kind: sensor\n")
    bag = parse()
    assert bag.import_errors == {}
    assert [d for d in bag.dags if d.startswith("broken__")]


def test_broken_alerts_yaml_leaves_all_streams_running(project: Project, parse: Parse) -> None:
    project.add("pumps", stream(project.root))
    (project.root / "configs" / "alerts.yaml").write_text("receivers: 3\n")
    bag = parse()
    assert bag.import_errors == {}
    assert {"ingest__pumps", "deliver_alerts"} <= set(bag.dags)
