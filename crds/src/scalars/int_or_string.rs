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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{IntOrString, Rounding::*, *};

    /// F21, F22: text is a percentage, with its sign or without.
    #[test]
    fn shares_round_as_asked() {
        for (share, total, up, down) in [
            (IntOrString::from("25"), 10, 3, 2),
            ("25%".into(), 10, 3, 2),
            ("25%".into(), 4, 1, 1),
            ("25%".into(), 0, 0, 0),
            ("0%".into(), 10, 0, 0),
            ("150%".into(), 3, 5, 4),
            ("-10%".into(), 5, 0, -1),
            (7.into(), 3, 7, 7),
            ((-1).into(), 3, -1, -1),
            ("9223372036854775807%".into(), 1000, i64::MAX, i64::MAX),
        ] {
            assert_eq!(
                (share.scaled(total, Up), share.scaled(total, Down)),
                (Ok(up), Ok(down)),
                "{share} of {total}"
            );
        }
        for text in ["", "%", "a quarter", "2.5%", " 25%"] {
            assert_eq!(
                IntOrString::from(text).scaled(10, Up),
                Err(PercentError(text.to_owned()))
            );
        }
    }

    /// F27: seconds, as a number or text, or a duration.
    #[test]
    fn pauses_are_whole_seconds() {
        for (pause, seconds) in [
            (IntOrString::from(30), 30),
            ("30".into(), 30),
            ("-1".into(), -1),
            ("5m".into(), 300),
            ("1h".into(), 3600),
            ("1500ms".into(), 1),
            ("0".into(), 0),
        ] {
            assert_eq!(pause.seconds(), Ok(seconds), "{pause}");
        }
        for text in ["", "soon", "4294967296", "1.5"] {
            assert!(IntOrString::from(text).seconds().is_err(), "{text}");
        }
    }

    #[test]
    fn counts_are_go_int_values() {
        let cases = [
            (IntOrString::from(3), 3),
            ("3".into(), 3),
            ("-3".into(), -3),
            ("3%".into(), 0),
            ("".into(), 0),
        ];
        for (count, value) in cases {
            assert_eq!(count.int_value(), value, "{count}");
        }
    }

    #[test]
    fn json_is_a_number_or_text() {
        for json in ["3", "-1", "\"25%\"", "\"\""] {
            assert_eq!(
                serde_json::to_string(&serde_json::from_str::<IntOrString>(json).unwrap()).unwrap(),
                json
            );
        }
        for json in ["3.5", "3000000000", "-3000000000", "true", "null", "{}", "[1]"] {
            assert!(serde_json::from_str::<IntOrString>(json).is_err(), "{json}");
        }
    }

    proptest! {
        #[test]
        fn up_and_down_are_neighbours(percent in -1000_i32..1000, total in 0_i64..100_000) {
            let share = IntOrString::String(format!("{percent}%"));
            let (up, down) = (share.scaled(total, Up).unwrap(), share.scaled(total, Down).unwrap());
            let exact = i64::from(percent) * total;
            prop_assert!(down * 100 <= exact && exact <= up * 100 && up - down <= 1);
        }
    }
}
