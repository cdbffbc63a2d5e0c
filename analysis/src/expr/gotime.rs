//! Times, durations and time zones, with the texts that Go gives them.

use std::sync::Arc;

use jiff::civil::{Date, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp, Zoned};

use super::budget::Budget;
use super::eval::{conversion, string};
use super::value::Value;
use super::{EvalError, golayout};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// Nanoseconds of the units of a duration, smallest first.
const UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// A float as `%v` prints it.
pub(super) fn float(f: f64) -> String {
    if f.is_nan() {
        return "NaN".to_owned();
    }
    if f.is_infinite() {
        return if f > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{f:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..FLOAT_SCIENTIFIC).contains(&exponent) {
        return format!("{f}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// From this exponent on `%v` prints in the scientific form.
const FLOAT_SCIENTIFIC: i32 = 6;

/// A duration as `Duration.String` prints it: `1h30m0s`.
pub(super) fn duration_text(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    if nanos == 0 {
        return "0s".to_owned();
    }
    for (limit, divisor, unit) in [
        (1_000, 1, "ns"),
        (1_000_000, 1_000, "µs"),
        (1_000_000_000, 1_000_000, "ms"),
    ] {
        if nanos < limit {
            return format!("{sign}{}{unit}", decimal(nanos, divisor));
        }
    }
    let (minutes, rest) = (nanos / 60_000_000_000, nanos % 60_000_000_000);
    let seconds = decimal(rest, 1_000_000_000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// A quotient of a power of ten, without trailing zeros.
fn decimal(value: u64, divisor: u64) -> String {
    let fraction = value % divisor;
    if fraction == 0 {
        return (value / divisor).to_string();
    }
    let width = divisor.ilog10() as usize;
    format!(
        "{}.{}",
        value / divisor,
        format!("{fraction:0width$}").trim_end_matches('0')
    )
}

/// A duration as `time.ParseDuration` reads it: `1h30m`, `1.5s`, `-2ms`.
pub(super) fn parse_duration(text: &str) -> Result<i64, EvalError> {
    let invalid = || EvalError::new(format!("time: invalid duration {text:?}"));
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(
            rest.find(|c: char| !(c == '.' || c.is_ascii_digit()))
                .unwrap_or(rest.len()),
        );
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(invalid());
        }
        let end = tail
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (name, tail) = tail.split_at(end);
        if name.is_empty() {
            return Err(EvalError::new(format!("time: missing unit in duration {text:?}")));
        }
        let unit = UNITS
            .into_iter()
            .find(|(unit, _)| *unit == name)
            .map(|(_, nanos)| nanos as u64)
            .ok_or_else(|| EvalError::new(format!("time: unknown unit {name:?} in duration {text:?}")))?;
        let whole: u64 = if whole.is_empty() {
            0
        } else {
            whole.parse().map_err(|_| invalid())?
        };
        let mut nanos = whole.checked_mul(unit).ok_or_else(invalid)?;
        let mut scale = 1.0;
        let mut digits = 0.0;
        for digit in fraction.bytes().take(18) {
            digits = digits * 10.0 + f64::from(digit - b'0');
            scale *= 10.0;
        }
        nanos = nanos
            .checked_add((digits * (unit as f64 / scale)) as u64)
            .ok_or_else(invalid)?;
        total = total.checked_add(nanos).ok_or_else(invalid)?;
        rest = tail;
    }
    match (i64::try_from(total), negative) {
        (Ok(total), false) => Ok(total),
        (Ok(total), true) => Ok(-total),
        (Err(_), true) if total == i64::MIN.unsigned_abs() => Ok(i64::MIN),
        _ => Err(invalid()),
    }
}

pub(super) fn month_name(month: i8) -> &'static str {
    usize::try_from(month - 1)
        .ok()
        .and_then(|index| MONTHS.get(index))
        .copied()
        .unwrap_or_default()
}

pub(super) fn weekday_name(day: i8) -> &'static str {
    usize::try_from(day)
        .ok()
        .and_then(|index| WEEKDAYS.get(index))
        .copied()
        .unwrap_or_default()
}

/// The number of the month or weekday whose name starts a text, and the rest. Case does not matter.
pub(super) fn leading_name(text: &str, month: bool, short: bool) -> Option<(i8, &str)> {
    let names: &[&str] = if month { &MONTHS } else { &WEEKDAYS };
    names.iter().enumerate().find_map(|(index, name)| {
        let name = if short { name.get(..3)? } else { name };
        let head = text.get(..name.len())?;
        head.eq_ignore_ascii_case(name)
            .then(|| (index as i8, text.get(name.len()..).unwrap_or_default()))
    })
}

/// A time zone of the database that is compiled in. `Local` is UTC, as in the controller's container.
pub(super) fn zone(name: &str) -> Result<TimeZone, EvalError> {
    if matches!(name, "" | "UTC" | "Local") {
        return Ok(TimeZone::UTC);
    }
    TimeZoneDatabase::bundled()
        .get(name)
        .map_err(|_| EvalError::new(format!("unknown time zone {name}")))
}

pub(super) fn zone_name(zone: &TimeZone) -> String {
    zone.iana_name().map_or_else(String::new, str::to_owned)
}

/// The abbreviation of the zone at a time: `CEST`, or the offset of a zone that has no name.
pub(super) fn abbreviation(time: &Zoned) -> String {
    if time.time_zone().iana_name().is_none() {
        return golayout::format(time, "-0700");
    }
    time.time_zone()
        .to_offset_info(time.timestamp())
        .abbreviation()
        .to_owned()
}

/// A time as `Time.String` prints it.
pub(super) fn time_text(time: &Zoned) -> String {
    golayout::format(time, "2006-01-02 15:04:05.999999999 -0700 MST")
}

/// A time in RFC 3339 with as many digits of the second as it has.
pub(super) fn rfc3339(time: &Zoned) -> String {
    golayout::format(time, "2006-01-02T15:04:05.999999999Z07:00")
}

/// A time and a span of nanoseconds after it.
pub(super) fn add(time: &Zoned, nanos: i64) -> Result<Value, EvalError> {
    time.checked_add(SignedDuration::from_nanos(nanos))
        .map(|time| Value::Time(Arc::new(time)))
        .map_err(|_| EvalError::new("time is out of range"))
}

/// The nanoseconds from `b` to `a`, the longest span there is where they are further apart.
pub(super) fn between(a: &Zoned, b: &Zoned) -> i64 {
    let nanos = a.timestamp().duration_since(b.timestamp()).as_nanos();
    i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
}

/// What `date` tries when it is given no layout.
const LAYOUTS: [&str; 7] = [
    "2006-01-02",
    "15:04:05",
    "2006-01-02 15:04:05",
    "2006-01-02T15:04:05Z07:00",
    "02 Jan 06 15:04 MST",
    "Monday, 02-Jan-06 15:04:05 MST",
    "Mon, 02 Jan 2006 15:04:05 MST",
];

/// `date(text)`, `date(text, layout)`, `date(text, layout, zone)`, each also with a zone before the text.
pub(super) fn date(args: &[Value], budget: &mut Budget) -> Result<Value, EvalError> {
    let (given, args) = match args {
        [Value::Zone(zone), rest @ ..] => (Some(zone.clone()), rest),
        args => (None, args),
    };
    budget.step(100)?;
    let time = match args {
        [text] => {
            let text = string(text)?;
            LAYOUTS
                .iter()
                .find_map(|layout| golayout::parse(layout, text, given.as_ref()).ok())
                .ok_or_else(|| EvalError::new(format!("invalid date {text}")))?
        }
        [text, layout] => golayout::parse(string(layout)?, string(text)?, given.as_ref())?,
        [text, layout, name] => golayout::parse(string(layout)?, string(text)?, Some(&zone(string(name)?)?))?,
        _ => return Err(EvalError::new("invalid number of arguments for date")),
    };
    Ok(Value::Time(Arc::new(time)))
}

/// A method of a time, a duration, a zone, a month or a weekday.
pub(super) fn method(
    value: &Value,
    name: &str,
    args: &[Value],
    budget: &mut Budget,
) -> Result<Value, EvalError> {
    budget.step(10)?;
    let method = match (value, name, args) {
        (value, "String", []) => Some(Value::from(value.to_string())),
        (Value::Time(time), name, args) => time_method(time, name, args)?,
        (Value::Duration(nanos), name, args) => duration_method(*nanos, name, args)?,
        _ => None,
    };
    method.ok_or_else(|| {
        EvalError::new(format!(
            "cannot fetch {name} with {} arguments from {}",
            args.len(),
            value.type_name()
        ))
    })
}

fn duration_method(nanos: i64, name: &str, args: &[Value]) -> Result<Option<Value>, EvalError> {
    Ok(Some(match (name, args) {
        ("Hours", []) => Value::Float(nanos as f64 / 3.6e12),
        ("Minutes", []) => Value::Float(nanos as f64 / 6e10),
        ("Seconds", []) => Value::Float(nanos as f64 / 1e9),
        ("Milliseconds", []) => Value::Int(nanos / 1_000_000),
        ("Microseconds", []) => Value::Int(nanos / 1_000),
        ("Nanoseconds", []) => Value::Int(nanos),
        ("Abs", []) => Value::Duration(nanos.saturating_abs()),
        ("Round" | "Truncate", [unit]) => {
            let unit = span(unit)?;
            if unit <= 0 {
                return Ok(Some(Value::Duration(nanos)));
            }
            let rest = nanos % unit;
            let truncated = nanos - rest;
            let up = name == "Round" && rest.unsigned_abs() >= unit.unsigned_abs() - rest.unsigned_abs();
            Value::Duration(if up {
                truncated.saturating_add(unit * rest.signum())
            } else {
                truncated
            })
        }
        _ => return Ok(None),
    }))
}

fn span(value: &Value) -> Result<i64, EvalError> {
    match value {
        Value::Duration(nanos) => Ok(*nanos),
        other => Err(conversion(other, "time.Duration")),
    }
}

fn moment(value: &Value) -> Result<&Zoned, EvalError> {
    match value {
        Value::Time(time) => Ok(time),
        other => Err(conversion(other, "time.Time")),
    }
}

fn time_method(time: &Arc<Zoned>, name: &str, args: &[Value]) -> Result<Option<Value>, EvalError> {
    let int = |number: i64| Value::Int(number);
    let in_zone = |zone: TimeZone| Value::Time(Arc::new(time.with_time_zone(zone)));
    let stamp = time.timestamp();
    Ok(Some(match (name, args) {
        ("Year", []) => int(i64::from(time.year())),
        ("Month", []) => Value::Month(time.month()),
        ("Day", []) => int(i64::from(time.day())),
        ("Hour", []) => int(i64::from(time.hour())),
        ("Minute", []) => int(i64::from(time.minute())),
        ("Second", []) => int(i64::from(time.second())),
        ("Nanosecond", []) => int(i64::from(time.subsec_nanosecond())),
        ("YearDay", []) => int(i64::from(time.day_of_year())),
        ("Weekday", []) => Value::Weekday(time.weekday().to_sunday_zero_offset()),
        ("Unix", []) => int(stamp.as_second()),
        ("UnixMilli", []) => int(stamp.as_millisecond()),
        ("UnixMicro", []) => int(stamp.as_microsecond()),
        // Go lets it wrap outside the years 1678 to 2262
        ("UnixNano", []) => int(stamp.as_nanosecond() as i64),
        ("Location", []) => Value::Zone(time.time_zone().clone()),
        ("UTC" | "Local", []) => in_zone(TimeZone::UTC),
        ("IsZero", []) => Value::Bool(since_year_one(stamp) == 0),
        ("IsDST", []) => Value::Bool(time.time_zone().to_offset_info(stamp).dst().is_dst()),
        ("Add", [by]) => add(time, span(by)?)?,
        ("Sub", [other]) => Value::Duration(between(time, moment(other)?)),
        ("Before", [other]) => Value::Bool(stamp < moment(other)?.timestamp()),
        ("After", [other]) => Value::Bool(stamp > moment(other)?.timestamp()),
        ("Equal", [other]) => Value::Bool(stamp == moment(other)?.timestamp()),
        ("Compare", [other]) => int(stamp.cmp(&moment(other)?.timestamp()) as i64),
        ("In", [Value::Zone(zone)]) => in_zone(zone.clone()),
        ("Format", [layout]) => Value::from(golayout::format(time, string(layout)?)),
        ("AddDate", [Value::Int(years), Value::Int(months), Value::Int(days)]) => {
            let time = add_date(time, *years, *months, *days)
                .ok_or_else(|| EvalError::new("time is out of range"))?;
            Value::Time(Arc::new(time))
        }
        ("Round" | "Truncate", [unit]) => {
            let unit = i128::from(span(unit)?);
            if unit <= 0 {
                return Ok(Some(Value::Time(time.clone())));
            }
            let rest = since_year_one(stamp).rem_euclid(unit);
            let change = if name == "Round" && rest * 2 >= unit {
                unit - rest
            } else {
                -rest
            };
            add(time, i64::try_from(change).unwrap_or(0))?
        }
        _ => return Ok(None),
    }))
}

/// Nanoseconds since the first of January of the year 1, which is Go's zero time.
fn since_year_one(stamp: Timestamp) -> i128 {
    const YEAR_ONE: i128 = -62_135_596_800;
    stamp.as_nanosecond() - YEAR_ONE * 1_000_000_000
}

/// Years, months and days later, days of the month that do not exist running over into the next.
fn add_date(time: &Zoned, years: i64, months: i64, days: i64) -> Option<Zoned> {
    let months = i64::from(time.month() - 1).checked_add(months)?;
    let year = i64::from(time.year())
        .checked_add(years)?
        .checked_add(months.div_euclid(12))?;
    let first = Date::new(
        i16::try_from(year).ok()?,
        i8::try_from(months.rem_euclid(12) + 1).ok()?,
        1,
    )
    .ok()?;
    let days = i64::from(time.day() - 1).checked_add(days)?;
    let date = first
        .checked_add(SignedDuration::from_secs(days.checked_mul(86_400)?))
        .ok()?;
    date.to_datetime(time.time())
        .to_zoned(time.time_zone().clone())
        .ok()
}

/// The day of the week of a date, 0 being Sunday.
pub(super) fn weekday(day: Weekday) -> i8 {
    day.to_sunday_zero_offset()
}

#[cfg(test)]
mod tests {
    use super::{duration_text, float, parse_duration};

    #[test]
    fn durations_go_both_ways() {
        for (text, nanos, shown) in [
            ("1h30m", 5_400_000_000_000, "1h30m0s"),
            ("1.5s", 1_500_000_000, "1.5s"),
            ("-1500us", -1_500_000, "-1.5ms"),
            ("0", 0, "0s"),
            ("+5m", 300_000_000_000, "5m0s"),
            (".5h", 1_800_000_000_000, "30m0s"),
            ("1h1ns", 3_600_000_000_001, "1h0m0.000000001s"),
            ("1µs", 1_000, "1µs"),
        ] {
            assert_eq!(parse_duration(text), Ok(nanos), "{text}");
            assert_eq!(duration_text(nanos), shown, "{text}");
        }
        for (text, message) in [
            ("", "time: invalid duration \"\""),
            ("x", "time: invalid duration \"x\""),
            ("5", "time: missing unit in duration \"5\""),
            ("5d", "time: unknown unit \"d\" in duration \"5d\""),
            ("9999999999h", "time: invalid duration \"9999999999h\""),
            ("1.2.3s", "time: invalid duration \"1.2.3s\""),
        ] {
            assert_eq!(parse_duration(text).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn floats_look_as_in_go() {
        for (number, text) in [
            (1.0, "1"),
            (0.0, "0"),
            (-1.5, "-1.5"),
            (100_000.0, "100000"),
            (1e6, "1e+06"),
            (123_456_789.0, "1.23456789e+08"),
            (1e21, "1e+21"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(float(number), text);
        }
    }
}
