//! Where text goes, and how it is coloured and laid out.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use serde_json::Value;

use crate::failure::Failure;

/// What `-o` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    Json,
    Yaml,
}

/// Paints words that stand for a state or a role in the colour that they have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Painter {
    pub(crate) colour: bool,
}

impl Painter {
    /// `text`, without control characters, in the colour of `word`.
    pub(crate) fn paint(self, text: &str, word: &str) -> String {
        let text = printable(text);
        match colour_of(word) {
            Some(code) if self.colour => format!("\x1b[{code}m{text}\x1b[0m"),
            _ => text,
        }
    }

    /// A word in its own colour.
    pub(crate) fn word(self, text: &str) -> String {
        self.paint(text, text)
    }
}

fn colour_of(word: &str) -> Option<u8> {
    Some(match word {
        "✔" | "stable" | "active" => 32,
        "✖" | "⚠" => 31,
        "◷" | "?" | "canary" => 33,
        "◌" | "preview" | "Pending" | "Running" => 94,
        _ => return None,
    })
}

/// Text that cannot move the cursor or colour the terminal: names and messages come from the cluster.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// A cell of a table: what is printed, and how wide that looks.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) width: usize,
}

impl Cell {
    pub(crate) fn plain(text: &str) -> Self {
        let text = printable(text);
        Self {
            width: text.chars().count(),
            text,
        }
    }
}

/// Lays rows out in columns that are two spaces apart and at least `least` wide.
pub(crate) fn columns(rows: &[Vec<Cell>], least: &[usize]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.width);
        cells
            .max()
            .unwrap_or_default()
            .max(least.get(column).copied().unwrap_or_default())
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&cell.text);
            line.push_str(&" ".repeat(width - cell.width + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Standard output.
pub(crate) struct Output {
    to: Box<dyn Write + Send>,
    pub(crate) painter: Painter,
    /// Whether somebody looks at it.
    pub(crate) terminal: bool,
}

impl Output {
    /// Standard output; colours only for a terminal that wants them.
    pub(crate) fn stdout(no_color: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        let painter = Painter {
            colour: terminal && !no_color && !unwanted,
        };
        Self {
            to: Box::new(io::stdout()),
            painter,
            terminal,
        }
    }

    /// Writes text that ends its lines itself.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.to
            .write_all(text.as_bytes())
            .and_then(|()| self.to.flush())
            .map_err(Failure::Output)
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, line: &str) -> Result<(), Failure> {
        self.text(&format!("{line}\n"))
    }

    /// Writes text in the place of what the terminal shows.
    pub(crate) fn redraw(&mut self, text: &str) -> Result<(), Failure> {
        self.text(&format!("\x1b[H\x1b[2J\x1b[0;0H{text}"))
    }

    /// Writes a value for a program.
    pub(crate) fn value(&mut self, format: Format, value: &impl Serialize) -> Result<(), Failure> {
        let text = match format {
            Format::Json => serde_json::to_string_pretty(value).map_err(Failure::other)? + "\n",
            // Through JSON, so that both say the same.
            Format::Yaml => yaml(&serde_json::to_value(value).map_err(Failure::other)?)?,
        };
        self.text(&text)
    }
}

/// A value as YAML.
pub(crate) fn yaml(value: &Value) -> Result<String, Failure> {
    serde_saphyr::to_string(value).map_err(Failure::other)
}

/// A line on standard error that is no failure.
pub(crate) fn note(text: &str) {
    // Nobody can be told when this fails.
    let _ = writeln!(io::stderr(), "{}", printable(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_only_where_they_are_wanted() {
        let rows = [
            ("✔", true, "\x1b[32m✔\x1b[0m"),
            ("✔", false, "✔"),
            ("Paused", true, "Paused"),
            ("a\x1b[31mb\n", true, "a [31mb "),
        ];
        for (text, colour, expected) in rows {
            assert_eq!(Painter { colour }.word(text), expected);
        }
    }

    /// Readers of YAML 1.1, such as kubectl, take more words for something else than text.
    #[test]
    fn text_stays_text_as_yaml() {
        for text in [
            "",
            "on",
            "y",
            "No",
            "null",
            "~",
            "1_000",
            "0x1f",
            "0o7",
            "017",
            "1e3",
            "12:30:45",
            "2026-11-21",
            ".5",
            "=",
            "<<",
            "- a",
            "a: b",
            "a #b",
            "a\nb\n",
            "a\n\n",
            " a ",
            "*a",
            "&a",
            "!a",
            "@a",
            "\u{1}",
            "%a",
            "{a}",
            "---",
            "\u{feff}a",
        ] {
            let value = serde_json::json!({"a": text});
            let yaml = yaml(&value).unwrap();
            let read =
                tidegate_manifests::read("a.yaml", &yaml, &tidegate_manifests::Limits::default()).unwrap();
            assert_eq!(read[0].value, value, "{yaml}");
            let plain = yaml.trim_end() == format!("a: {text}");
            assert!(!plain, "{yaml}");
        }
    }

    #[test]
    fn colours_do_not_move_columns() {
        let painted = Cell {
            text: "\x1b[32m✔\x1b[0m".to_owned(),
            width: 1,
        };
        let rows = [
            vec![Cell::plain("NAME"), Cell::plain("STATUS"), Cell::plain("AGE")],
            vec![Cell::plain("a-long-name"), painted, Cell::plain("")],
        ];
        assert_eq!(
            columns(&rows, &[0, 8]),
            "NAME         STATUS    AGE\na-long-name  \x1b[32m✔\x1b[0m\n"
        );
    }
}
