"""Make dashboards/*.json, Grafana's dashboards, from the modules beside this: `python -m grafana.make`.

A test holds the files to what this makes, each query to being one, and each figure in it to being served. Grafana is
asked for nothing that it lacks since version 9: time series, stats, tables, one variable for the data source and one for
the chains.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from grafana import integrity, pipeline, stores, watch
from grafana.panels import Dashboard, Panel

__all__ = ["DASHBOARDS", "FOLDER", "files"]

FOLDER = Path(__file__).parent / "dashboards"
DASHBOARDS = (pipeline.DASHBOARD, integrity.DASHBOARD, watch.DASHBOARD, stores.DASHBOARD)

_SOURCE = {"type": "prometheus", "uid": "${source}"}
_COLUMNS = 24
_TALL = {"stat": 5, "timeseries": 8, "table": 8}  # in Grafana's units


def files() -> dict[str, str]:
    """The files by name, as they must be."""
    return {f"{each.uid}.json": json.dumps(_document(each), indent=1) + "\n" for each in DASHBOARDS}


def _document(dashboard: Dashboard) -> dict[str, Any]:
    panels: list[dict[str, Any]] = []
    top = 0
    for heading, row in dashboard.rows:
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": heading,
                "collapsed": False,
                "gridPos": {"x": 0, "y": top, "w": _COLUMNS, "h": 1},
                "panels": [],
            }
        )
        top += 1
        for line in _lines(row):
            left, height = 0, max(panel.tall or _TALL[panel.kind] for panel in line)
            for panel in line:
                place = {"x": left, "y": top, "w": panel.columns, "h": height}
                panels.append(_panel(panel, len(panels) + 1, place))
                left += panel.columns
            top += height
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["sealstream"],
        "editable": False,
        "schemaVersion": 39,
        "version": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "links": [
            {
                "title": "Sealstream",
                "type": "dashboards",
                "tags": ["sealstream"],
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "templating": {"list": [_source(), _variable("job", "sealstream_process_info"), _chains()]},
        "annotations": {"list": []},
        "panels": panels,
    }


def _lines(row: tuple[Panel, ...]) -> list[list[Panel]]:
    """The panels side by side, as many as there is room for; those of a line are equally tall."""
    lines: list[list[Panel]] = [[]]
    for panel in row:
        if sum(each.columns for each in lines[-1]) + panel.columns > _COLUMNS:
            lines.append([])
        lines[-1].append(panel)
    return lines


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    limits = panel.limits or ((0, "green"),)
    steps = [{"color": colour, "value": value if n else None} for n, (value, colour) in enumerate(limits)]
    made: dict[str, Any] = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
        "targets": [
            {
                "refId": chr(ord("A") + n),
                "datasource": _SOURCE,
                "expr": expression,
                "legendFormat": legend or "__auto",
                "range": panel.kind != "table",
                "instant": panel.kind == "table",
                "format": "table" if panel.kind == "table" else "time_series",
            }
            for n, (expression, legend) in enumerate(panel.queries)
        ],
    }
    if panel.kind == "stat":
        made["options"] = {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "value" if not panel.limits else "background",
            "graphMode": "none",
        }
    elif panel.kind == "table":
        excluded = dict.fromkeys(("Time", *panel.hidden), True)
        made["transformations"] = [
            {"id": "organize", "options": {"excludeByName": excluded, "renameByName": {}, "indexByName": {}}}
        ]
    else:
        made["options"] = {"legend": {"displayMode": "list", "placement": panel.legend}, "tooltip": {"mode": "multi"}}
    return made


def _source() -> dict[str, Any]:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0}


def _variable(label: str, figure: str) -> dict[str, Any]:
    query = f"label_values({figure}, {label})"
    return {
        "name": label,
        "label": label.capitalize(),
        "type": "query",
        "datasource": _SOURCE,
        "definition": query,
        "query": {"query": query, "refId": "variable"},
        "refresh": 2,
        "sort": 1,
        "hide": 0,
    }


def _chains() -> dict[str, Any]:
    # Figures that are of no chain have none: `.*` takes them, too.
    more = {"multi": True, "includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}}
    return _variable("chain", 'sealstream_last_seq{job="$job"}') | more


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in files().items():
        (FOLDER / name).write_text(text)
