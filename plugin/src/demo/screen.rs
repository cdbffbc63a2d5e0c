//! Where the demo is shown: redrawn in place on a terminal, line by line elsewhere.

use std::io::{self, Stdout, Write};

use crossterm::{cursor, queue, terminal};

use super::scene::Scene;
use super::{draw, plain};

/// What shows the demo.
pub(super) enum Screen<W: Write> {
    /// One line for each change.
    Lines(W),
    /// A picture that is redrawn.
    Picture(Picture),
}

/// A picture on a terminal.
pub(super) struct Picture {
    out: Stdout,
    colours: bool,
    /// How many lines the picture had that is there now.
    drawn: u16,
    said: Vec<String>,
}

impl<W: Write> Screen<W> {
    /// A screen of lines.
    pub(super) fn lines(mut out: W) -> io::Result<Self> {
        writeln!(out, "{}", plain::HEAD.trim_end())?;
        Ok(Self::Lines(out))
    }

    /// A picture on the terminal.
    pub(super) fn picture(mut out: Stdout, colours: bool) -> io::Result<Self> {
        queue!(out, cursor::Hide)?;
        out.flush()?;
        Ok(Self::Picture(Picture {
            out,
            colours,
            drawn: 0,
            said: Vec::new(),
        }))
    }

    /// Tells what changed between two ticks.
    pub(super) fn tell(&mut self, before: &Scene, now: &Scene, done: Option<String>) -> io::Result<()> {
        let notes: Vec<String> = plain::notes(before, now).into_iter().chain(done).collect();
        match self {
            Self::Lines(out) => match plain::line(before, now, &notes) {
                Some(line) => writeln!(out, "{line}"),
                None => Ok(()),
            },
            Self::Picture(picture) => {
                let at = now.at.as_secs_f64();
                picture
                    .said
                    .extend(notes.iter().map(|note| format!("{at:>6.1} s  {note}")));
                let old = picture.said.len().saturating_sub(100);
                picture.said.drain(..old);
                Ok(())
            }
        }
    }

    /// Draws the picture anew.
    pub(super) fn draw(&mut self, now: &Scene) -> io::Result<()> {
        let Self::Picture(picture) = self else {
            return Ok(());
        };
        let (width, height) = terminal::size().unwrap_or((80, 24));
        let lines = draw::picture(now, &picture.said, (width.into(), height.into()));
        // a terminal that became smaller has scrolled the rest away
        let up = picture.drawn.min(height.saturating_sub(1));
        let out = &mut picture.out;
        queue!(out, terminal::BeginSynchronizedUpdate)?;
        if up > 0 {
            queue!(out, cursor::MoveToPreviousLine(up))?;
        }
        for line in &lines {
            write!(out, "{}", line.render(width.into(), picture.colours))?;
            queue!(out, terminal::Clear(terminal::ClearType::UntilNewLine))?;
            writeln!(out)?;
        }
        queue!(
            out,
            terminal::Clear(terminal::ClearType::FromCursorDown),
            terminal::EndSynchronizedUpdate
        )?;
        picture.drawn = u16::try_from(lines.len()).unwrap_or(u16::MAX);
        out.flush()
    }

    /// Says something below all of it; nothing is redrawn after that.
    pub(super) fn say(&mut self, lines: &[String]) -> io::Result<()> {
        let out: &mut dyn Write = match self {
            Self::Lines(out) => out,
            Self::Picture(picture) => {
                picture.drawn = 0;
                &mut picture.out
            }
        };
        for line in lines {
            writeln!(out, "{line}")?;
        }
        out.flush()
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        // a terminal that is gone needs no cursor
        let _ = queue!(self.out, cursor::Show);
        let _ = self.out.flush();
    }
}
