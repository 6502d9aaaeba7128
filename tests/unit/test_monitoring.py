"""What is shipped for Prometheus and Grafana asks for figures that exist, and is what those programs read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from upscale_server.metrics import FIGURES

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
HOWTO = (ROOT / "docs" / "howto" / "monitor.md").read_text(encoding="utf-8")
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboards" / "upscale-server.json").read_text("utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
SUFFIXES = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
LABELS = {f"{one.name}{suffix}": {*one.labels} for one in FIGURES for suffix in SUFFIXES[one.kind]}
OF_PROMETHEUS = {"up": set(), "process_resident_memory_bytes": set()}
"""Prometheus' own, and what its library tells of the process."""
ADDED = {"instance", "job", "le", "worker"}
"""Labels that Prometheus, a histogram and a server of several processes add."""
WORDS = {"sum", "min", "max", "by", "on", "and", "rate", "increase", "histogram_quantile", "group_left"}


def yaml_of(path: Path) -> Any:  # noqa: ANN401 - YAML has no narrower type
    """Return what a YAML file holds."""
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed here; it comes with the extra [tsdsr]")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def queries() -> list[str]:
    """Return every question of the dashboard."""
    return [target["expr"] for panel in PANELS for target in panel["targets"]]


def alerts() -> list[dict[str, Any]]:
    """Return every rule."""
    return [rule for group in yaml_of(DEPLOY / "prometheus" / "alerts.yml")["groups"] for rule in group["rules"]]


def named_in(query: str) -> tuple[set[str], set[str]]:
    """Return the figures and the labels that a query names; what is neither nor a word of PromQL's counts as figure."""
    labels = set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)\s*\"", query))
    for listed in re.findall(r"(?:by|on|group_left) ?\(([^)]*)\)", query):
        labels |= {name.strip() for name in listed.split(",") if name.strip()}
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\"|(?:by|on|group_left) ?\([^)]*\)", " ", query)
    return set(re.findall(r"[a-z_][a-z0-9_]*", bare)) - WORDS, labels


def check_query(query: str) -> None:
    """Fail where a query names what does not exist, or where its brackets do not pair."""
    figures, labels = named_in(query)
    known = LABELS | OF_PROMETHEUS

    assert figures, query
    assert set() == figures - set(known), query
    assert set() == labels - ADDED - set().union(*(known[one] for one in figures)), query
    depth = 0
    for sign in query:
        depth += (sign in "([{") - (sign in ")]}")
        assert depth >= 0, query
    assert 0 == depth, query


@pytest.mark.parametrize("query", queries())
def test_the_dashboard_asks_for_what_there_is(query: str) -> None:
    """Each figure and each label of each question is in the table that the servers count by."""
    check_query(query)


def test_the_alerts_ask_for_what_there_is_and_say_what_it_means() -> None:
    """Names, brackets, how bad, a sentence for people, and a line in the how-to."""
    names = [rule["alert"] for rule in alerts()]

    assert len(names) == len(set(names)) > 5
    for rule in alerts():
        check_query(rule["expr"])
        assert {"alert", "expr", "labels", "annotations"} <= set(rule)
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert f"`{rule['alert']}`" in HOWTO
        asked = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        assert asked <= ADDED | named_in(rule["expr"])[1] | set().union(
            *(LABELS.get(one, set()) for one in named_in(rule["expr"])[0])
        )


@pytest.mark.parametrize(
    "query", ["sum(rate(upscale_frames_total[5m])", "upscale_no_such_figure", 'upscale_jobs{color="red"}', "1 + 1"]
)
def test_a_wrong_query_would_be_seen(query: str) -> None:
    """The check itself: an open bracket, an unknown figure, a label that is not the figure's, and no figure at all."""
    with pytest.raises(AssertionError):
        check_query(query)


def test_every_panel_has_a_title_a_unit_and_a_place_of_its_own() -> None:
    """No two lie on each other, and each asks the data source that was chosen."""
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        assert place["x"] + place["w"] <= 24
        assert panel["title"]
    for panel in PANELS:
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert {"type": "prometheus", "uid": "${datasource}"} == panel["datasource"]
        assert all(panel["datasource"] == target["datasource"] for target in panel["targets"])
    titles = [panel["title"] for panel in PANELS]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert (len(titles), len(ids)) == (len(set(titles)), len(set(ids)))


def test_the_dashboard_is_of_todays_form_and_names_no_server() -> None:
    """Any Prometheus can be chosen; the servers are those that it knows."""
    variables = {one["name"]: one for one in DASHBOARD["templating"]["list"]}

    assert DASHBOARD["schemaVersion"] >= 39
    assert {"datasource", "instance"} == set(variables)
    assert "datasource" == variables["datasource"]["type"]
    assert "label_values(upscale_build_info, instance)" == variables["instance"]["query"]["query"]


def test_the_figures_that_matter_are_on_the_dashboard() -> None:
    """All but what only names the servers, and the room that an alert asks about."""
    shown = set().union(*(named_in(query)[0] for query in queries()))
    missing = {one.name for one in FIGURES if not any(f"{one.name}{end}" in shown for end in SUFFIXES[one.kind])}

    assert {"upscale_build_info", "upscale_queue_room"} == missing


def test_prometheus_asks_every_worker_of_the_compose_file_with_the_key() -> None:
    """The documented ports, the path, the key in a file, and the rules."""
    compose = yaml_of(DEPLOY / "compose.images.yaml")
    prometheus = yaml_of(DEPLOY / "prometheus" / "prometheus.yml")
    (scrape,) = prometheus["scrape_configs"]
    (targets,) = yaml_of(DEPLOY / "prometheus" / "targets.images" / "image.yml")

    assert [f"127.0.0.1:{port}" for port in range(8090, 8095)] == targets["targets"]
    assert "/metrics" == scrape["metrics_path"]
    assert "/run/secrets/upscale_key" == scrape["authorization"]["credentials_file"]
    assert {"upscale_key": {"file": "${API_KEY_FILE:-./secrets/api_key}"}} == compose["secrets"]
    assert ["upscale_key"] == compose["services"]["prometheus"]["secrets"]
    assert "service:door" == compose["services"]["prometheus"]["network_mode"]
    assert ["/etc/prometheus/alerts.yml"] == prometheus["rule_files"]
    assert f'job="{scrape["job_name"]}"' in next(rule["expr"] for rule in alerts() if rule["alert"] == "UpscaleDown")


def test_monitoring_is_on_request_and_grafana_is_for_this_machine_alone() -> None:
    """Nobody gets two more containers by an update; who may look without a login can change nothing."""
    services = yaml_of(DEPLOY / "compose.images.yaml")["services"]
    grafana = services["grafana"]

    assert {"prometheus", "grafana"} == {
        name for name, one in services.items() if one.get("profiles") == ["monitoring"]
    }
    assert ["127.0.0.1:3000:3000"] == grafana["ports"]
    assert "ports" not in services["prometheus"]
    assert "Viewer" == grafana["environment"]["GF_AUTH_ANONYMOUS_ORG_ROLE"]
    for volume in grafana["volumes"][:2]:
        assert (DEPLOY / volume.split(":")[0]).is_dir(), volume
    provided = yaml_of(DEPLOY / "grafana" / "provisioning" / "dashboards" / "upscale-server.yml")
    assert any(f":{provided['providers'][0]['options']['path']}:" in volume for volume in grafana["volumes"])
    (source,) = yaml_of(DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml")["datasources"]
    assert ("prometheus", "http://prometheus:9090") == (source["type"], source["url"])
    assert ["prometheus"] == services["door"]["networks"]["default"]["aliases"]  # whose network Prometheus lives in


def test_the_howto_names_settings_that_exist_and_the_fields_of_a_line() -> None:
    """A person who copies from it is not refused."""
    from upscale_server.settings import known_names  # noqa: PLC0415 - beside its only use

    assert set() == set(re.findall(r"\bUPSCALE_[A-Z_]+[A-Z]\b", HOWTO)) - set(known_names())
    assert set() == {name for name in re.findall(r"`(upscale_\w+)`", HOWTO) if name not in LABELS}
