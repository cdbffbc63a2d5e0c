use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A time of the API: RFC 3339 in UTC, whole seconds, like Go's `metav1.Time`.
///
/// A fraction of a second is cut off on the way in, so that a time is equal to what it will be read as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(Timestamp);

impl Time {
    /// The time as a timestamp with whole seconds.
    pub fn timestamp(self) -> Timestamp {
        self.0
    }

    /// Seconds since 1970.
    pub fn as_second(self) -> i64 {
        self.0.as_second()
    }
}

impl From<Timestamp> for Time {
    fn from(timestamp: Timestamp) -> Self {
        // Rounds towards the past, before 1970 too: Go prints the second that a moment lies in.
        let second = timestamp.as_second() - i64::from(timestamp.subsec_nanosecond() < 0);
        Self(Timestamp::from_second(second).unwrap_or(Timestamp::MIN))
    }
}

impl From<Time> for Timestamp {
    fn from(time: Time) -> Self {
        time.0
    }
}

impl std::str::FromStr for Time {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<Timestamp>().map(Self::from)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map_err(|error| D::Error::custom(format_args!("not an RFC 3339 time: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_rfc3339_and_writes_whole_seconds_in_utc() {
        for (json, written) in [
            ("2026-11-21T10:08:47Z", "2026-11-21T10:08:47Z"),
            ("2026-11-21T12:08:47+02:00", "2026-11-21T10:08:47Z"),
            ("2026-11-21T10:08:47.999999999Z", "2026-11-21T10:08:47Z"),
            ("1969-12-31T23:59:58.5Z", "1969-12-31T23:59:58Z"),
        ] {
            let time: Time = serde_json::from_value(json.into()).unwrap();
            assert_eq!(serde_json::to_value(time).unwrap(), written, "{json}");
        }
        for bad in ["", "yesterday", "2026-11-21", "2026-13-01T00:00:00Z"] {
            assert!(serde_json::from_value::<Time>(bad.into()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_time_survives_json(second in -62_000_000_000_i64..250_000_000_000, nanosecond in 0..1_000_000_000_i32) {
            let time = Time::from(Timestamp::new(second, nanosecond).unwrap());
            prop_assert_eq!(time.as_second(), second);
            let json = serde_json::to_value(time).unwrap();
            prop_assert_eq!(serde_json::from_value::<Time>(json).unwrap(), time);
        }
    }
}
