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
            _ => {
                for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                    quoted.push_str(&format!("\\x{byte:02x}"));
                }
            }
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
