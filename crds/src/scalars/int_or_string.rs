use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{GoDurationError, parse_go_duration};

/// A number, or text that means one: `3`, `"25%"`, `"30"`, `"5m"`, `"{{args.count}}"`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IntOrString {
    /// A number.
    Int(i32),
    /// Text.
    String(String),
}

/// Which way a share that is no whole number goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// To the next greater number (`maxSurge`).
    Up,
    /// To the next smaller number (`maxUnavailable`).
    Down,
}

/// A text that is no percentage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid value for IntOrString: invalid value {0:?}: write a number, or a percentage such as \"25%\""
)]
pub struct PercentError(pub String);

impl IntOrString {
    /// The number itself, or the percentage of `total`.
    ///
    /// Text is a percentage with or without its sign, as in Kubernetes' older helper: the default `"25"` of
    /// `maxSurge` and `maxUnavailable` is 25 percent (F21, F22).
    pub fn scaled(&self, total: i64, rounding: Rounding) -> Result<i64, PercentError> {
        let percent = match self {
            Self::Int(number) => return Ok(i64::from(*number)),
            Self::String(text) => text
                .replace('%', "")
                .parse::<i64>()
                .map_err(|_| PercentError(text.clone()))?,
        };
        let hundredths = i128::from(percent) * i128::from(total);
        let down = hundredths.div_euclid(100);
        let value = match rounding {
            Rounding::Up if hundredths.rem_euclid(100) != 0 => down + 1,
            _ => down,
        };
        Ok(i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX }))
    }

    /// The number, or the number that the text is; 0 for other text, as in Go (`IntValue`).
    pub fn int_value(&self) -> i64 {
        match self {
            Self::Int(number) => i64::from(*number),
            Self::String(text) => text.parse().unwrap_or(0),
        }
    }

    /// Seconds: a number, text with a number, or a Go duration, cut to whole seconds (F27).
    pub fn seconds(&self) -> Result<i64, GoDurationError> {
        match self {
            Self::Int(number) => Ok(i64::from(*number)),
            // Go asks for 32 bits; a greater number is no duration either, for lack of a unit.
            Self::String(text) => match text.parse::<i32>() {
                Ok(number) => Ok(i64::from(number)),
                Err(_) => parse_go_duration(text).map(|duration| duration.as_secs()),
            },
        }
    }
}

impl Default for IntOrString {
    fn default() -> Self {
        Self::Int(0)
    }
}

impl From<i32> for IntOrString {
    fn from(number: i32) -> Self {
        Self::Int(number)
    }
}

impl From<&str> for IntOrString {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl fmt::Display for IntOrString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => number.fmt(f),
            Self::String(text) => f.write_str(text),
        }
    }
}

impl Serialize for IntOrString {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Int(number) => serializer.serialize_i32(*number),
            Self::String(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for IntOrString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = IntOrString;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of 32 bits, or text")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<IntOrString, E> {
                let fits = i32::try_from(number);
                fits.map(IntOrString::Int)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<IntOrString, E> {
                let fits = i32::try_from(number);
                fits.map(IntOrString::Int)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<IntOrString, E> {
                Ok(IntOrString::String(text.to_owned()))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<IntOrString, E> {
                Ok(IntOrString::String(text))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}
