//! The layout of `get`: a head, and the tree.

use std::fmt::Write;

use jiff::Timestamp;

use crate::age::age;
use crate::info::{Image, Info, Node};
use crate::output::{Cell, Painter, columns, printable};

/// The whole of what `get` prints.
pub(crate) fn get(info: &Info, painter: Painter, now: Timestamp) -> String {
    format!("{}\n{}", head(info, painter), tree(info, painter, now))
}

fn head(info: &Info, painter: Painter) -> String {
    let mut lines = vec![
        field("Name:", &printable(&info.name)),
        field("Namespace:", &printable(&info.namespace)),
        field(
            "Status:",
            &format!("{} {}", painter.word(info.tree.icon), printable(&info.status)),
        ),
    ];
    if !info.message.is_empty() {
        lines.push(field("Message:", &printable(&info.message)));
    }
    if info.replicas.is_some() {
        lines.push(field("Strategy:", info.strategy));
    }
    if let Some(canary) = &info.canary {
        lines.push(field("  Step:", canary.step.as_deref().unwrap_or_default()));
        lines.push(field("  SetWeight:", &canary.set_weight.to_string()));
        lines.push(field("  ActualWeight:", &canary.actual_weight.to_string()));
    }
    for (index, image) in info.images.iter().enumerate() {
        lines.push(field(
            if index == 0 { "Images:" } else { "" },
            &image_text(image, painter),
        ));
    }
    if let Some(replicas) = &info.replicas {
        lines.push("Replicas:".to_owned());
        for (name, count) in [
            ("  Desired:", replicas.desired),
            ("  Current:", replicas.current),
            ("  Updated:", replicas.updated),
            ("  Ready:", replicas.ready),
            ("  Available:", replicas.available),
        ] {
            lines.push(field(name, &count.to_string()));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

fn field(name: &str, value: &str) -> String {
    format!("{name:<17}{value}").trim_end().to_owned()
}

fn image_text(image: &Image, painter: Painter) -> String {
    let tags: Vec<String> = image.tags.iter().map(|tag| painter.word(tag)).collect();
    let name = printable(&image.image);
    if tags.is_empty() {
        name
    } else {
        format!("{name} ({})", tags.join(", "))
    }
}

fn tree(info: &Info, painter: Painter, now: Timestamp) -> String {
    let mut rows = vec![
        ["NAME", "KIND", "STATUS", "AGE", "INFO"]
            .map(Cell::plain)
            .to_vec(),
    ];
    add_rows(&info.tree, "", "", painter, now, &mut rows);
    columns(&rows, &[])
}

/// A line for a node and for each below it. `before` stands before its own line, `below` before those of its children.
fn add_rows(
    node: &Node,
    before: &str,
    below: &str,
    painter: Painter,
    now: Timestamp,
    rows: &mut Vec<Vec<Cell>>,
) {
    let plain_name = format!("{before}{} {}", node.glyph, node.name);
    let name = format!("{before}{} {}", node.glyph, painter.paint(&node.name, &node.tint));
    let status = format!("{} {}", painter.word(node.icon), printable(&node.status));
    let info: Vec<String> = node.info.iter().map(|part| info_text(part, painter)).collect();
    rows.push(vec![
        Cell {
            text: name,
            width: plain_name.chars().count(),
        },
        Cell::plain(node.kind),
        Cell {
            text: status,
            width: node.icon.chars().count() + 1 + node.status.chars().count(),
        },
        Cell::plain(&if node.kind.is_empty() {
            String::new()
        } else {
            age(node.created.map(Timestamp::from), now)
        }),
        // The last column needs no width.
        Cell {
            text: info.join(","),
            width: 0,
        },
    ]);
    for (index, child) in node.children.iter().enumerate() {
        let (own, next) = if index + 1 == node.children.len() {
            ("└──", "   ")
        } else {
            ("├──", "│  ")
        };
        add_rows(
            child,
            &format!("{below}{own}"),
            &format!("{below}{next}"),
            painter,
            now,
            rows,
        );
    }
}

/// A role, a count with its icon (`✔ 4`), or something without a colour.
fn info_text(part: &str, painter: Painter) -> String {
    match part.split_once(' ') {
        Some((icon, count)) => format!("{} {}", painter.word(icon), printable(count)),
        None => painter.word(part),
    }
}

/// What has changed between two looks, a line for each object, for where there is no terminal to redraw.
pub(crate) fn changes(before: &Info, after: &Info) -> String {
    let mut text = String::new();
    let said = |info: &Info| {
        let canary = info.canary.as_ref().map_or_else(String::new, |canary| {
            format!(
                " (step {}, weight {})",
                canary.step.as_deref().unwrap_or("-"),
                canary.actual_weight
            )
        });
        let message = if info.message.is_empty() {
            String::new()
        } else {
            format!(" - {}", info.message)
        };
        format!("{} {}{message}{canary}", info.tree.kind, info.status)
    };
    if said(before) != said(after) {
        text.push_str(&printable(&said(after)));
        text.push('\n');
    }
    let (old, new) = (lines(&before.tree), lines(&after.tree));
    for line in new.iter().filter(|line| !old.contains(line)) {
        let said = format!("{} {} {} {}", line.0, line.1, line.2, line.3);
        text.push_str(&said.trim_end().replace('\n', " "));
        text.push('\n');
    }
    for line in old
        .iter()
        .filter(|line| !new.iter().any(|other| (other.0, &other.1) == (line.0, &line.1)))
    {
        // writing to a String cannot fail
        let _ = writeln!(text, "{} {} gone", line.0, line.1);
    }
    text
}

type Line = (&'static str, String, String, String);

/// The objects below the root: kind, name, status, information that does not change by the clock alone.
fn lines(root: &Node) -> Vec<Line> {
    let mut found = Vec::new();
    let mut rest: Vec<&Node> = root.children.iter().rev().collect();
    while let Some(node) = rest.pop() {
        if !node.kind.is_empty() {
            let info = node
                .info
                .iter()
                .filter(|part| !part.starts_with("delay:"))
                .map(|part| printable(part));
            let info = info.collect::<Vec<_>>().join(",");
            found.push((node.kind, printable(&node.name), printable(&node.status), info));
        }
        rest.extend(node.children.iter().rev());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::info::{Objects, rollout};
    use crate::testing::{Dump, dump};

    fn look(dump: &Dump) -> Info {
        let Dump {
            rollout: object,
            objects,
            ..
        } = dump;
        rollout(object, objects, dump.now)
    }

    fn text(name: &str, colour: bool) -> String {
        let dump = dump(name);
        get(&look(&dump), Painter { colour }, dump.now)
    }

    /// Statuses of upstream's controller (recordings), laid out as upstream's plugin does.
    #[test]
    fn trees_of_real_rollouts() {
        insta::assert_snapshot!("canary-nginx", text("canary-nginx", false));
        insta::assert_snapshot!("bluegreen-manual", text("bluegreen-manual", false));
        insta::assert_snapshot!("canary-analysis-fails", text("canary-analysis-fails", false));
        insta::assert_snapshot!("canary-nginx-in-colours", text("canary-nginx", true));
    }

    #[test]
    fn changes_line_by_line() {
        let dump = dump("canary-nginx");
        let before = look(&dump);
        assert_eq!(changes(&before, &before), "");
        let mut after = dump;
        after.rollout.status.current_step_index = Some(2);
        after.rollout.status.phase = Some("Progressing".into());
        after.rollout.status.message = Some("waiting for all steps to complete".to_owned());
        after.rollout.status.pause_conditions.clear();
        after.rollout.status.controller_pause = None;
        after
            .objects
            .replica_sets
            .retain(|set| set["metadata"]["name"] != "web-7f9b5658bf");
        insta::assert_snapshot!("changes", changes(&before, &look(&after)));
    }

    #[test]
    fn a_rollout_that_nobody_has_looked_at() {
        let object = serde_json::json!({
            "metadata": {"name": "web", "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"strategy": {"canary": {"steps": [{"setWeight": 20}]}}},
        });
        let object = serde_json::from_value(object).unwrap();
        let now = "2026-01-01T00:00:05Z".parse().unwrap();
        let info = rollout(&object, &Objects::default(), now);
        insta::assert_snapshot!("new", get(&info, Painter { colour: false }, now));
    }
}
