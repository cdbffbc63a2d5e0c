use std::fmt;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// A duration as Go writes it, such as `5m` or `1h30m`. Keeps its text, valid or not: an invalid one is for
/// validation to report, and steps with it still have to hash as they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GoDuration(String);

impl GoDuration {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The duration.
    pub fn parse(&self) -> Result<SignedDuration, GoDurationError> {
        parse_go_duration(&self.0)
    }
}

impl From<&str> for GoDuration {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for GoDuration {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no duration. The words are Go's, which upstream's messages carry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GoDurationError {
    /// No number where one belongs, or more than Go can hold (about 292 years).
    #[error("time: invalid duration {}", quote(.0))]
    Invalid(String),
    /// A number without a unit.
    #[error("time: missing unit in duration {}", quote(.0))]
    MissingUnit(String),
    /// A unit other than ns, us, µs, ms, s, m and h.
    #[error("time: unknown unit {} in duration {}", quote(.unit), quote(.text))]
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The whole text.
        text: String,
    },
}

/// Quotes as Go's package `time` does.
fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            ' '..='\x7f' => quoted.push(character),
            _ => quoted.extend(character.to_string().bytes().map(|byte| format!("\\x{byte:02x}"))),
        }
    }
    quoted.push('"');
    quoted
}

/// Reads a duration as Go's `time.ParseDuration` does: a sign, then numbers with units, such as `1.5h`, `-2m30s`.
/// A bare `0` needs no unit.
pub fn parse_go_duration(text: &str) -> Result<SignedDuration, GoDurationError> {
    let invalid = || GoDurationError::Invalid(text.to_owned());
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if unsigned == "0" {
        return Ok(SignedDuration::ZERO);
    }
    if unsigned.is_empty() {
        return Err(invalid());
    }
    // Go counts up to 2^63 nanoseconds, and the full count only if negative.
    let limit = 1_u64 << 63;
    let mut total: u64 = 0;
    let mut rest = unsigned;
    while !rest.is_empty() {
        let (whole, after_whole) = split_digits(rest);
        let (fraction, after_number) = match after_whole.strip_prefix('.') {
            Some(after_point) => split_digits(after_point),
            None => ("", after_whole),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let unit_length = after_number
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after_number.len());
        let (unit, next) = after_number.split_at(unit_length);
        let scale = match unit {
            "ns" => 1,
            // U+00B5 and U+03BC, both in use
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "" => return Err(GoDurationError::MissingUnit(text.to_owned())),
            _ => {
                return Err(GoDurationError::UnknownUnit {
                    unit: unit.to_owned(),
                    text: text.to_owned(),
                });
            }
        };
        // An empty whole part is 0, as in `.5s`.
        let whole = if whole.is_empty() {
            0
        } else {
            whole.parse::<u64>().map_err(|_| invalid())?
        };
        total = whole
            .checked_mul(scale)
            .and_then(|nanoseconds| nanoseconds.checked_add(fraction_of(fraction, scale)))
            .and_then(|nanoseconds| nanoseconds.checked_add(total))
            .filter(|&sum| sum <= limit)
            .ok_or_else(invalid)?;
        rest = next;
    }
    let signed = if negative {
        -i128::from(total)
    } else {
        i128::from(total)
    };
    i64::try_from(signed)
        .map(SignedDuration::from_nanos)
        .map_err(|_| invalid())
}

/// The leading digits, and what follows them.
fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// `0.<digits>` of a unit, rounded down. Digits that no longer fit are cut off, as in Go.
fn fraction_of(digits: &str, scale: u64) -> u64 {
    let mut value: u64 = 0;
    let mut divisor = 1.0_f64;
    for digit in digits.bytes() {
        let Some(more) = value
            .checked_mul(10)
            .and_then(|v| v.checked_add(u64::from(digit - b'0')))
        else {
            break;
        };
        if more > 1 << 63 {
            break;
        }
        value = more;
        divisor *= 10.0;
    }
    (value as f64 * (scale as f64 / divisor)) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: i64 = 60_000_000_000;

    /// The table of Go's own tests for `time.ParseDuration`.
    #[test]
    fn reads_what_go_reads() {
        for (text, nanoseconds) in [
            ("0", 0),
            ("+0", 0),
            ("-0", 0),
            ("5s", 5_000_000_000),
            ("30s", 30_000_000_000),
            ("1478s", 1_478_000_000_000),
            ("-5s", -5_000_000_000),
            ("+5s", 5_000_000_000),
            ("5.0s", 5_000_000_000),
            ("5.6s", 5_600_000_000),
            ("5.s", 5_000_000_000),
            (".5s", 500_000_000),
            ("1.0s", 1_000_000_000),
            ("1.00s", 1_000_000_000),
            ("1.004s", 1_004_000_000),
            ("1.0040s", 1_004_000_000),
            ("100.00100s", 100_001_000_000),
            ("10ns", 10),
            ("11us", 11_000),
            ("12\u{b5}s", 12_000),
            ("12\u{3bc}s", 12_000),
            ("13ms", 13_000_000),
            ("14s", 14_000_000_000),
            ("15m", 15 * MINUTE),
            ("16h", 16 * 60 * MINUTE),
            ("3h30m", 210 * MINUTE),
            ("10.5s4m", 4 * MINUTE + 10_500_000_000),
            ("-2m3.4s", -(2 * MINUTE + 3_400_000_000)),
            ("1h2m3s4ms5us6ns", 3_723_004_005_006),
            ("39h9m14.425s", 140_954_425_000_000),
            ("52763797000ns", 52_763_797_000),
            ("0.3333333333333333333h", 20 * MINUTE),
            ("9007199254740993ns", 9_007_199_254_740_993),
            ("9223372036854775807ns", i64::MAX),
            ("9223372036854775.807us", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
            ("-9223372036854775.808us", i64::MIN),
            ("-2562047h47m16.854775808s", i64::MIN),
            ("0.100000000000000000000h", 6 * MINUTE),
            ("0.830103483285477580700h", 49 * MINUTE + 48_372_539_827),
        ] {
            assert_eq!(
                parse_go_duration(text),
                Ok(SignedDuration::from_nanos(nanoseconds)),
                "{text}"
            );
        }
    }

    /// The same table's errors, in Go's words.
    #[test]
    fn refuses_what_go_refuses() {
        for (text, message) in [
            ("", r#"time: invalid duration """#),
            ("3", r#"time: missing unit in duration "3""#),
            ("-", r#"time: invalid duration "-""#),
            ("s", r#"time: invalid duration "s""#),
            (".", r#"time: invalid duration ".""#),
            ("-.", r#"time: invalid duration "-.""#),
            (".s", r#"time: invalid duration ".s""#),
            ("+.s", r#"time: invalid duration "+.s""#),
            ("1d", r#"time: unknown unit "d" in duration "1d""#),
            ("1m 30s", r#"time: unknown unit "m " in duration "1m 30s""#),
            ("\u{85}\u{85}", r#"time: invalid duration "\xc2\x85\xc2\x85""#),
            (
                "hello \u{ffff} world",
                r#"time: invalid duration "hello \xef\xbf\xbf world""#,
            ),
            (
                "9223372036854775810ns",
                r#"time: invalid duration "9223372036854775810ns""#,
            ),
            (
                "9223372036854775808ns",
                r#"time: invalid duration "9223372036854775808ns""#,
            ),
            (
                "9223372036854776us",
                r#"time: invalid duration "9223372036854776us""#,
            ),
            ("3000000h", r#"time: invalid duration "3000000h""#),
            (
                "2562047h47m16.854775808s",
                r#"time: invalid duration "2562047h47m16.854775808s""#,
            ),
            (
                "99999999999999999999999s",
                r#"time: invalid duration "99999999999999999999999s""#,
            ),
        ] {
            assert_eq!(parse_go_duration(text).unwrap_err().to_string(), message);
        }
    }

    proptest! {
        /// Written as Go's `Duration.String` may write it, read back exactly.
        #[test]
        fn reads_back_any_duration(nanoseconds in i64::MIN + 1..=i64::MAX) {
            let all = nanoseconds.unsigned_abs();
            let sign = if nanoseconds < 0 { "-" } else { "" };
            let (hours, minutes, seconds) = (all / 3_600_000_000_000, all / 60_000_000_000 % 60, all / 1_000_000_000 % 60);
            let text = format!("{sign}{hours}h{minutes}m{seconds}s{}ns", all % 1_000_000_000);
            prop_assert_eq!(parse_go_duration(&text), Ok(SignedDuration::from_nanos(nanoseconds)));
        }

        #[test]
        fn survives_any_text(text in "[-+.0-9a-zµμ ]{0,24}") {
            let duration = GoDuration::from(text.as_str());
            let _ = duration.parse();
            let json = serde_json::to_string(&duration).unwrap();
            prop_assert_eq!(serde_json::from_str::<GoDuration>(&json).unwrap(), duration);
        }
    }
}
