//! Enumerations of the API that keep text they do not know, so that nothing is lost between versions.

/// Defines an enum over text: the given variants, `Unset` for the empty text, `Other` for anything else.
macro_rules! text_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident $(= $text:literal)?),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            /// The empty text.
            #[default]
            Unset,
            $($(#[$vmeta])* $variant,)+
            /// Text that this version does not know, kept as it is.
            Other(String),
        }

        impl $name {
            /// The text of the API.
            pub fn as_str(&self) -> &str {
                match self {
                    Self::Unset => "",
                    $(Self::$variant => $crate::text_enum::text_of!($variant $(= $text)?),)+
                    Self::Other(text) => text,
                }
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                match text {
                    "" => Self::Unset,
                    $(known if known == $crate::text_enum::text_of!($variant $(= $text)?) => Self::$variant,)+
                    other => Self::Other(other.to_owned()),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <String as serde::Deserialize>::deserialize(deserializer).map(|text| Self::from(text.as_str()))
            }
        }

        #[cfg(feature = "schema")]
        $crate::schema::text_schema!($name);
    };
}

/// The text of a variant: its literal, or its name.
macro_rules! text_of {
    ($variant:ident = $text:literal) => {
        $text
    };
    ($variant:ident) => {
        stringify!($variant)
    };
}

pub(crate) use {text_enum, text_of};

#[cfg(test)]
mod tests {
    use crate::{AnalysisPhase, ScaleDownStrategy};

    #[test]
    fn known_unknown_and_empty_text_survive() {
        for text in ["", "Running", "Inconclusive", "Launching", "running"] {
            let phase = AnalysisPhase::from(text);
            assert_eq!(phase.as_str(), text);
            assert_eq!(
                matches!(phase, AnalysisPhase::Other(_)),
                ["Launching", "running"].contains(&text)
            );
        }
        assert_eq!(ScaleDownStrategy::from("onsuccess"), ScaleDownStrategy::OnSuccess);
        assert_eq!(serde_json::to_value(ScaleDownStrategy::Never).unwrap(), "never");
    }
}
