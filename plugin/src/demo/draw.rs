//! The demo as a picture: lines of styled words, cut to the width of the terminal.

use std::fmt::Write as _;

use super::plain::rate;
use super::scene::{Pods, Scene, Side};

/// How a word looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Strong,
    Faint,
    Good,
    Bad,
    Stable,
    Canary,
}

impl Style {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Strong => "\x1b[1m",
            Self::Faint => "\x1b[2m",
            Self::Good => "\x1b[32m",
            Self::Bad => "\x1b[1;31m",
            Self::Stable => "\x1b[34m",
            Self::Canary => "\x1b[33m",
        }
    }
}

/// A line of styled words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line(Vec<(Style, String)>);

impl Line {
    fn with(mut self, style: Style, text: impl Into<String>) -> Self {
        self.0.push((style, text.into()));
        self
    }

    fn plain(self, text: impl Into<String>) -> Self {
        self.with(Style::Plain, text)
    }

    /// As text that is at most so wide, with or without colours.
    pub(super) fn render(&self, width: usize, colours: bool) -> String {
        let (mut out, mut left) = (String::new(), width);
        for (style, text) in &self.0 {
            let cut: String = text.chars().take(left).collect();
            left -= cut.chars().count();
            let code = if colours { style.code() } else { "" };
            let end = if code.is_empty() { "" } else { "\x1b[0m" };
            // writing to a string cannot fail
            let _ = write!(out, "{code}{cut}{end}");
        }
        out
    }
}

/// The picture: what is to be seen, what was said last, newest at the end, and the size of the terminal.
pub(super) fn picture(scene: &Scene, said: &[String], (width, height): (usize, usize)) -> Vec<Line> {
    let mut lines = vec![
        head(scene, width),
        Line::default(),
        release(scene),
        steps(scene),
        Line::default(),
    ];
    let bar = width.saturating_sub(62).clamp(10, 50);
    let empty = Side::default();
    let canary = scene.canary.as_ref();
    lines.push(side(
        &scene.stable,
        ("stable", Style::Stable),
        100 - scene.weight.min(100),
        bar,
        &[],
    ));
    let history: &[f64] = if canary.is_some() { &scene.history } else { &[] };
    lines.push(side(
        canary.unwrap_or(&empty),
        ("canary", Style::Canary),
        scene.weight,
        bar,
        history,
    ));
    lines.push(Line::default());
    lines.push(checks(scene));
    lines.push(people(scene));
    lines.push(Line::default());
    let room = height.saturating_sub(lines.len() + 1).min(10);
    let first = said.len().saturating_sub(room);
    for (i, text) in said.iter().enumerate().skip(first) {
        let style = if i + 1 == said.len() {
            Style::Plain
        } else {
            Style::Faint
        };
        lines.push(Line::default().with(style, format!(" {text}")));
    }
    lines.truncate(height.saturating_sub(1));
    lines
}

fn head(scene: &Scene, width: usize) -> Line {
    let left = " Tidegate demo";
    let about = "   a simulated cluster with the real controller in it";
    let clock = format!("{:.1} s ", scene.at.as_secs_f64());
    let used = left.len() + about.len() + clock.len();
    Line::default()
        .with(Style::Strong, left)
        .with(Style::Faint, about)
        .plain(" ".repeat(width.saturating_sub(used)))
        .plain(clock)
}

fn release(scene: &Scene) -> Line {
    let line = match &scene.canary {
        Some(canary) => Line::default()
            .with(Style::Strong, format!(" release {}", canary.version))
            .plain(format!(" over {}   ", scene.stable.version)),
        None if scene.stable.version.is_empty() => Line::default().plain(" nothing is installed   "),
        None => Line::default()
            .plain(" everybody uses ")
            .with(Style::Strong, format!("{}   ", scene.stable.version)),
    };
    let style = match scene.phase.as_str() {
        "Healthy" => Style::Good,
        "Degraded" => Style::Bad,
        _ => Style::Plain,
    };
    line.with(style, scene.phase.as_str())
        .with(Style::Faint, format!("   {}", scene.message))
}

fn steps(scene: &Scene) -> Line {
    let mut line = Line::default();
    let active = scene.canary.is_some() && !scene.aborted;
    let last = "promote".to_owned();
    for (i, label) in scene.steps.iter().chain([&last]).enumerate() {
        let done =
            !scene.aborted && (i < scene.step || scene.canary.is_none() && !scene.stable.version.is_empty());
        line = match () {
            () if done => line.with(Style::Good, format!(" ✓{label}")),
            () if active && i == scene.step => line.with(Style::Strong, format!(" ▸{label}")),
            () => line.with(Style::Faint, format!(" ·{label}")),
        };
    }
    line
}

fn side(side: &Side, (name, style): (&str, Style), weight: u64, width: usize, history: &[f64]) -> Line {
    let title = format!(" {name} {:<8}", side.version.chars().take(8).collect::<String>());
    let full = (weight as usize * width + 50) / 100;
    let wrong = side.errors.is_some_and(|share| share >= 0.05);
    Line::default()
        .with(style, title)
        .with(style, "█".repeat(full))
        .with(Style::Faint, "░".repeat(width - full))
        .plain(format!(" {weight:>3}%  "))
        .with(style, format!("{:<7}", dots(side.pods)))
        .with(
            if wrong { Style::Bad } else { Style::Plain },
            format!("{:>6} errors ", rate(side.errors)),
        )
        .with(Style::Bad, sparks(history))
}

/// Pods: ready ones, then those that are wanted or still there.
fn dots(pods: Pods) -> String {
    let ready = pods.ready.clamp(0, 6) as usize;
    let coming = (pods.wanted - pods.ready).clamp(0, 6) as usize;
    "●".repeat(ready) + &"○".repeat(coming)
}

/// Error rates from 0 to 40 percent as a curve.
fn sparks(history: &[f64]) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let level = |share: &f64| ((share / 0.4 * 8.0) as usize).min(LEVELS.len() - 1);
    history
        .iter()
        .filter_map(|share| LEVELS.get(level(share)))
        .collect()
}

fn checks(scene: &Scene) -> Line {
    let line = Line::default().plain(" success rate  ");
    if scene.measured.is_empty() {
        return line.with(Style::Faint, "not measured yet");
    }
    scene.measured.iter().fold(line, |line, measured| {
        let (style, mark) = if measured.good {
            (Style::Good, '✓')
        } else {
            (Style::Bad, '✗')
        };
        line.with(style, format!("{mark} {}  ", measured.value))
    })
}

fn people(scene: &Scene) -> Line {
    let (active, hurt) = scene.people;
    let style = if hurt == 0 { Style::Good } else { Style::Bad };
    Line::default()
        .plain(format!(" users         {active} active, "))
        .with(style, format!("{hurt} hurt"))
        .with(
            Style::Faint,
            format!(
                "   {} requests, {} failed",
                scene.requests.requests, scene.requests.failed
            ),
        )
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use tidegate_sim::crowd::Count;

    use super::super::scene::Measured;
    use super::*;

    fn scene() -> Scene {
        let side = |version: &str, ready, wanted, errors| Side {
            version: version.to_owned(),
            pods: Pods { ready, wanted },
            errors,
        };
        Scene {
            at: SignedDuration::from_millis(12_300),
            release: "abc".to_owned(),
            phase: "Progressing".to_owned(),
            message: "more replicas need to be updated".to_owned(),
            steps: ["20%", "check", "40%", "check"].map(str::to_owned).to_vec(),
            step: 1,
            aborted: false,
            weight: 20,
            stable: side("v1", 5, 5, Some(0.0)),
            canary: Some(side("v2", 1, 2, Some(0.2))),
            history: vec![0.0, 0.1, 0.2, 1.0],
            run: "web-2".to_owned(),
            measured: vec![
                Measured {
                    value: "1.000".to_owned(),
                    good: true,
                },
                Measured {
                    value: "0.801".to_owned(),
                    good: false,
                },
            ],
            requests: Count {
                requests: 500,
                failed: 21,
            },
            people: (500, 20),
        }
    }

    fn text(size: (usize, usize)) -> Vec<String> {
        let said = ["a".to_owned(), "b".to_owned()];
        picture(&scene(), &said, size)
            .iter()
            .map(|line| line.render(size.0, false))
            .collect()
    }

    #[test]
    fn the_picture_as_text() {
        let want = [
            " Tidegate demo   a simulated cluster with the real controller in it      12.3 s ",
            "",
            " release v2 over v1   Progressing   more replicas need to be updated",
            " ✓20% ▸check ·40% ·check ·promote",
            "",
            " stable v1      ██████████████░░░░  80%  ●●●●●    0.0% errors ",
            " canary v2      ████░░░░░░░░░░░░░░  20%  ●○      20.0% errors ▁▃▅█",
            "",
            " success rate  ✓ 1.000  ✗ 0.801  ",
            " users         500 active, 20 hurt   500 requests, 21 failed",
            "",
            " a",
            " b",
        ];
        assert_eq!(text((80, 24)), want);
    }

    #[test]
    fn no_terminal_is_too_small() {
        for size in [(0, 0), (1, 1), (20, 3), (40, 12), (300, 100)] {
            let lines = text(size);
            assert!(lines.len() < size.1.max(1), "{size:?}");
            assert!(
                lines.iter().all(|line| line.chars().count() <= size.0),
                "{size:?}"
            );
        }
    }

    #[test]
    fn colours_end_where_they_began() {
        let line = Line::default().with(Style::Bad, "no").plain(" way");
        assert_eq!(line.render(4, true), "\x1b[1;31mno\x1b[0m w");
        assert_eq!(line.render(4, false), "no w");
    }
}
