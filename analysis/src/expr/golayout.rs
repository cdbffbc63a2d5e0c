//! Go's time layouts, in which `2006-01-02 15:04:05` stands for the parts of a time.

use jiff::Zoned;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};

use super::{EvalError, gotime};

/// A part of a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part<'a> {
    Literal(&'a str),
    Year,
    YearShort,
    Month(Pad),
    MonthName {
        short: bool,
    },
    Day(Pad),
    YearDay(Pad),
    WeekdayName {
        short: bool,
    },
    Hour,
    HourOf12(Pad),
    Minute(Pad),
    Second(Pad),
    Half {
        upper: bool,
    },
    /// A point or comma and digits; `exact` for zeros, up to as many for nines.
    Fraction {
        separator: char,
        digits: usize,
        exact: bool,
    },
    Offset(OffsetForm),
    Abbreviation,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pad {
    None,
    Space,
    Zero,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OffsetForm {
    /// `Z` for an offset of zero.
    z: bool,
    colon: bool,
    /// 1 for hours, 2 with minutes, 3 with seconds.
    parts: u8,
}

/// The patterns, each before those that it starts with.
const PATTERNS: [(&str, Part<'static>); 38] = [
    ("January", Part::MonthName { short: false }),
    ("Jan", Part::MonthName { short: true }),
    ("Monday", Part::WeekdayName { short: false }),
    ("Mon", Part::WeekdayName { short: true }),
    ("MST", Part::Abbreviation),
    ("002", Part::YearDay(Pad::Zero)),
    ("01", Part::Month(Pad::Zero)),
    ("02", Part::Day(Pad::Zero)),
    ("03", Part::HourOf12(Pad::Zero)),
    ("04", Part::Minute(Pad::Zero)),
    ("05", Part::Second(Pad::Zero)),
    ("06", Part::YearShort),
    ("15", Part::Hour),
    ("1", Part::Month(Pad::None)),
    ("2006", Part::Year),
    ("2", Part::Day(Pad::None)),
    ("__2", Part::YearDay(Pad::Space)),
    ("_2006", Part::Literal("_")),
    ("_2", Part::Day(Pad::Space)),
    ("3", Part::HourOf12(Pad::None)),
    ("4", Part::Minute(Pad::None)),
    ("5", Part::Second(Pad::None)),
    ("PM", Part::Half { upper: true }),
    ("pm", Part::Half { upper: false }),
    (
        "-07:00:00",
        Part::Offset(OffsetForm {
            z: false,
            colon: true,
            parts: 3,
        }),
    ),
    (
        "-070000",
        Part::Offset(OffsetForm {
            z: false,
            colon: false,
            parts: 3,
        }),
    ),
    (
        "-07:00",
        Part::Offset(OffsetForm {
            z: false,
            colon: true,
            parts: 2,
        }),
    ),
    (
        "-0700",
        Part::Offset(OffsetForm {
            z: false,
            colon: false,
            parts: 2,
        }),
    ),
    (
        "-07",
        Part::Offset(OffsetForm {
            z: false,
            colon: false,
            parts: 1,
        }),
    ),
    (
        "Z07:00:00",
        Part::Offset(OffsetForm {
            z: true,
            colon: true,
            parts: 3,
        }),
    ),
    (
        "Z070000",
        Part::Offset(OffsetForm {
            z: true,
            colon: false,
            parts: 3,
        }),
    ),
    (
        "Z07:00",
        Part::Offset(OffsetForm {
            z: true,
            colon: true,
            parts: 2,
        }),
    ),
    (
        "Z0700",
        Part::Offset(OffsetForm {
            z: true,
            colon: false,
            parts: 2,
        }),
    ),
    (
        "Z07",
        Part::Offset(OffsetForm {
            z: true,
            colon: false,
            parts: 1,
        }),
    ),
    // fractions of a second have any number of digits: see `fraction`
    (".0", Part::Literal("")),
    (",0", Part::Literal("")),
    (".9", Part::Literal("")),
    (",9", Part::Literal("")),
];

/// The part at the start of a layout and its length, unless it starts with a literal.
fn part_at(layout: &str) -> Option<(Part<'static>, usize)> {
    if let Some(fraction) = fraction(layout) {
        return Some(fraction);
    }
    let (pattern, part) = PATTERNS.iter().find(|(pattern, _)| layout.starts_with(pattern))?;
    match part {
        Part::Literal("") => None,
        Part::Literal(_) => Some((*part, 1)),
        // `Month` and `January` are words, `Mont` is not the start of a weekday
        Part::MonthName { short: true } | Part::WeekdayName { short: true }
            if layout
                .get(3..)
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase())) =>
        {
            None
        }
        part => Some((*part, pattern.len())),
    }
}

fn fraction(layout: &str) -> Option<(Part<'static>, usize)> {
    let separator = layout.chars().next().filter(|c| matches!(c, '.' | ','))?;
    let rest = layout.get(1..)?;
    let digit = rest.chars().next().filter(|c| matches!(c, '0' | '9'))?;
    let digits = rest.chars().take_while(|c| *c == digit).count();
    // `.05` is a point and a second
    if rest.get(digits..)?.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    Some((
        Part::Fraction {
            separator,
            digits,
            exact: digit == '0',
        },
        digits + 1,
    ))
}

fn parts(layout: &str) -> Vec<(Part<'_>, &str)> {
    let mut parts = Vec::new();
    let mut rest = layout;
    let mut literal = 0;
    while let Some(tail) = rest.get(literal..) {
        if let Some((part, length)) = part_at(tail) {
            let (before, from) = rest.split_at(literal);
            if !before.is_empty() {
                parts.push((Part::Literal(before), before));
            }
            let (text, after) = from.split_at(length);
            parts.push((part, text));
            (rest, literal) = (after, 0);
        } else if let Some(c) = tail.chars().next() {
            literal += c.len_utf8();
        } else {
            break;
        }
    }
    if !rest.is_empty() {
        parts.push((Part::Literal(rest), rest));
    }
    parts
}

/// A time in a layout.
pub(super) fn format(time: &Zoned, layout: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    let number = |out: &mut String, number: i16, pad: Pad, width: usize| {
        let _ = match pad {
            Pad::None => write!(out, "{number}"),
            Pad::Space => write!(out, "{number:width$}"),
            Pad::Zero => write!(out, "{number:0width$}"),
        };
    };
    for (part, _) in parts(layout) {
        match part {
            Part::Literal(text) => out.push_str(text),
            Part::Year => number(&mut out, time.year(), Pad::Zero, 4),
            Part::YearShort => number(&mut out, time.year().rem_euclid(100), Pad::Zero, 2),
            Part::Month(pad) => number(&mut out, i16::from(time.month()), pad, 2),
            Part::MonthName { short } => push_name(&mut out, gotime::month_name(time.month()), short),
            Part::Day(pad) => number(&mut out, i16::from(time.day()), pad, 2),
            Part::YearDay(pad) => number(&mut out, time.day_of_year(), pad, 3),
            Part::WeekdayName { short } => {
                push_name(
                    &mut out,
                    gotime::weekday_name(gotime::weekday(time.weekday())),
                    short,
                );
            }
            Part::Hour => number(&mut out, i16::from(time.hour()), Pad::Zero, 2),
            Part::HourOf12(pad) => {
                let hour = i16::from(time.hour()) % 12;
                number(&mut out, if hour == 0 { 12 } else { hour }, pad, 2);
            }
            Part::Minute(pad) => number(&mut out, i16::from(time.minute()), pad, 2),
            Part::Second(pad) => number(&mut out, i16::from(time.second()), pad, 2),
            Part::Half { upper } => out.push_str(match (time.hour() >= 12, upper) {
                (true, true) => "PM",
                (true, false) => "pm",
                (false, true) => "AM",
                (false, false) => "am",
            }),
            Part::Fraction {
                separator,
                digits,
                exact,
            } => {
                let nanos = format!("{:09}", time.subsec_nanosecond());
                let shown = nanos.get(..digits.min(9)).unwrap_or_default();
                let shown = if exact { shown } else { shown.trim_end_matches('0') };
                if !shown.is_empty() {
                    out.push(separator);
                    out.push_str(shown);
                    out.extend(std::iter::repeat_n(
                        '0',
                        if exact { digits.saturating_sub(9) } else { 0 },
                    ));
                }
            }
            Part::Offset(form) => push_offset(&mut out, time.offset().seconds(), form),
            Part::Abbreviation => out.push_str(&gotime::abbreviation(time)),
        }
    }
    out
}

fn push_name(out: &mut String, name: &str, short: bool) {
    out.push_str(if short {
        name.get(..3).unwrap_or(name)
    } else {
        name
    });
}

fn push_offset(out: &mut String, seconds: i32, form: OffsetForm) {
    use std::fmt::Write as _;
    if form.z && seconds == 0 {
        out.push('Z');
        return;
    }
    out.push(if seconds < 0 { '-' } else { '+' });
    let seconds = seconds.abs();
    for (index, value) in [seconds / 3600, seconds / 60 % 60, seconds % 60]
        .into_iter()
        .enumerate()
    {
        if index < usize::from(form.parts) {
            let _ = write!(
                out,
                "{}{value:02}",
                if form.colon && index > 0 { ":" } else { "" }
            );
        }
    }
}

/// What was read of a time so far.
struct Parsed {
    year: i16,
    month: i8,
    day: i8,
    year_day: Option<i16>,
    hour: i8,
    minute: i8,
    second: i8,
    nanosecond: i32,
    afternoon: Option<bool>,
    offset: Option<i32>,
    z: bool,
}

/// Reads a time. Without an offset it is a time in the given zone, or in UTC.
pub(super) fn parse(layout: &str, text: &str, zone: Option<&TimeZone>) -> Result<Zoned, EvalError> {
    let failed = |rest: &str, part: &str| {
        EvalError::new(format!(
            "parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {part:?}"
        ))
    };
    let mut parsed = Parsed {
        year: 0,
        month: 1,
        day: 1,
        year_day: None,
        hour: 0,
        minute: 0,
        second: 0,
        nanosecond: 0,
        afternoon: None,
        offset: None,
        z: false,
    };
    let parts = parts(layout);
    let mut rest = text;
    for (index, (part, shown)) in parts.iter().enumerate() {
        let fraction_follows = matches!(parts.get(index + 1), Some((Part::Fraction { .. }, _)));
        rest = parsed
            .read(*part, rest, fraction_follows)
            .ok_or_else(|| failed(rest, shown))?;
    }
    if !rest.is_empty() {
        return Err(EvalError::new(format!(
            "parsing time {text:?}: extra text: {rest:?}"
        )));
    }
    parsed
        .build(zone)
        .ok_or_else(|| EvalError::new(format!("parsing time {text:?}: out of range")))
}

/// A number of at most so many digits at the start of a text, filled up with zeros, spaces or not at all, and the rest.
fn padded_digits(text: &str, pad: Pad, most: usize) -> Option<(i32, &str)> {
    match pad {
        Pad::Zero => digits(text, most, most),
        Pad::Space => digits(text.trim_start_matches(' '), 1, most),
        Pad::None => digits(text, 1, most),
    }
}

/// A number of so many digits at the start of a text, and the rest.
fn digits(text: &str, least: usize, most: usize) -> Option<(i32, &str)> {
    let count = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if count < least {
        return None;
    }
    let (number, rest) = text.split_at(count);
    Some((number.parse().ok()?, rest))
}

impl Parsed {
    /// Reads one part of the layout; what is left of the text, or nothing when it does not fit.
    fn read<'t>(&mut self, part: Part<'_>, text: &'t str, fraction_follows: bool) -> Option<&'t str> {
        let padded = |pad| padded_digits(text, pad, 2);
        Some(match part {
            Part::Literal(literal) => text.strip_prefix(literal)?,
            Part::Year => {
                let (year, rest) = digits(text, 4, 4)?;
                self.year = year as i16;
                rest
            }
            Part::YearShort => {
                let (year, rest) = digits(text, 2, 2)?;
                self.year = (if year >= 69 { 1900 + year } else { 2000 + year }) as i16;
                rest
            }
            Part::Month(pad) => {
                let (month, rest) = padded(pad)?;
                self.month = month as i8;
                rest
            }
            Part::MonthName { short } => {
                let (month, rest) = gotime::leading_name(text, true, short)?;
                self.month = month + 1;
                rest
            }
            Part::Day(pad) => {
                let (day, rest) = padded(pad)?;
                self.day = day as i8;
                rest
            }
            Part::YearDay(pad) => {
                let (day, rest) = padded_digits(text, pad, 3)?;
                self.year_day = Some(day as i16);
                rest
            }
            Part::WeekdayName { short } => gotime::leading_name(text, false, short)?.1,
            Part::Hour => {
                let (hour, rest) = digits(text, 2, 2)?;
                self.hour = hour as i8;
                rest
            }
            Part::HourOf12(pad) => {
                let (hour, rest) = padded(pad).filter(|(hour, _)| *hour <= 12)?;
                self.hour = hour as i8;
                rest
            }
            Part::Minute(pad) => {
                let (minute, rest) = padded(pad)?;
                self.minute = minute as i8;
                rest
            }
            Part::Second(pad) => {
                let (second, rest) = padded(pad)?;
                self.second = second as i8;
                if fraction_follows {
                    rest
                } else {
                    self.fraction_without_layout(rest)?
                }
            }
            Part::Half { upper } => self.half(upper, text)?,
            Part::Fraction {
                digits, exact: true, ..
            } => self.fraction(text, Some(digits))?,
            Part::Fraction { .. } if text.starts_with(['.', ',']) => self.fraction(text, None)?,
            Part::Fraction { .. } => text,
            Part::Offset(form) => self.offset(form, text)?,
            Part::Abbreviation => self.abbreviation(text)?,
        })
    }

    /// A fraction may follow the seconds even where the layout has none.
    fn fraction_without_layout<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        let follows = text
            .strip_prefix(['.', ','])
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        if follows {
            self.fraction(text, None)
        } else {
            Some(text)
        }
    }

    /// Whether it is before or after noon.
    fn half<'t>(&mut self, upper: bool, text: &'t str) -> Option<&'t str> {
        let (am, pm) = if upper { ("AM", "PM") } else { ("am", "pm") };
        let afternoon = text.strip_prefix(pm);
        self.afternoon = Some(afternoon.is_some());
        afternoon.or_else(|| text.strip_prefix(am))
    }

    /// A zone by its name.
    fn abbreviation<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        let rest = text.strip_prefix("UTC").or_else(|| {
            // a name alone does not tell the offset: upstream takes zero
            let length = text.bytes().take_while(u8::is_ascii_uppercase).count();
            text.get(length..).filter(|_| (3..=5).contains(&length))
        })?;
        self.z = true;
        Some(rest)
    }

    fn fraction<'t>(&mut self, text: &'t str, exactly: Option<usize>) -> Option<&'t str> {
        let text = text.strip_prefix(['.', ','])?;
        let count = text.bytes().take_while(u8::is_ascii_digit).count();
        let count = match exactly {
            Some(exactly) if count < exactly => return None,
            Some(exactly) => exactly,
            None => count,
        };
        let (shown, rest) = text.split_at(count);
        let nanos = format!("{:0<9}", shown.get(..count.min(9))?);
        self.nanosecond = nanos.parse().ok()?;
        Some(rest)
    }

    fn offset<'t>(&mut self, form: OffsetForm, text: &'t str) -> Option<&'t str> {
        if form.z
            && let Some(rest) = text.strip_prefix('Z')
        {
            self.z = true;
            return Some(rest);
        }
        let negative = text.starts_with('-');
        let mut rest = text.strip_prefix(['+', '-'])?;
        let mut seconds = 0;
        for (index, unit) in [3600, 60, 1]
            .into_iter()
            .enumerate()
            .take(usize::from(form.parts))
        {
            if form.colon && index > 0 {
                rest = rest.strip_prefix(':')?;
            }
            let (value, after) = digits(rest, 2, 2)?;
            seconds += value * unit;
            rest = after;
        }
        self.offset = Some(if negative { -seconds } else { seconds });
        Some(rest)
    }

    fn build(&self, zone: Option<&TimeZone>) -> Option<Zoned> {
        let hour = match self.afternoon {
            Some(true) if self.hour < 12 => self.hour + 12,
            Some(false) if self.hour == 12 => 0,
            _ => self.hour,
        };
        let date = match self.year_day {
            Some(day) => Date::new(self.year, 1, 1)
                .ok()?
                .with()
                .day_of_year(day)
                .build()
                .ok()?,
            None => Date::new(self.year, self.month, self.day).ok()?,
        };
        let time = Time::new(hour, self.minute, self.second, self.nanosecond).ok()?;
        let civil = DateTime::from_parts(date, time);
        if self.z {
            return civil.to_zoned(TimeZone::UTC).ok();
        }
        let Some(seconds) = self.offset else {
            return civil.to_zoned(zone.cloned().unwrap_or(TimeZone::UTC)).ok();
        };
        let offset = Offset::from_seconds(seconds).ok()?;
        let stamp = offset.to_timestamp(civil).ok()?;
        // a zone that has this offset at that time gives it its name
        let zone = zone.cloned().unwrap_or(TimeZone::UTC);
        let named = zone.to_offset(stamp) == offset;
        Some(stamp.to_zoned(if named { zone } else { TimeZone::fixed(offset) }))
    }
}
