//! Values and their places, as the YAML reader hands them over.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Location, Spanned};

use crate::place::{Children, Spot};

/// A value with its places.
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) spot: Spot,
    pub(crate) duplicate: Option<Duplicate>,
}

/// The first key that is two keys in YAML but one in JSON, such as `1` and `"1"`. The reader itself cannot know of
/// those, and an error made here would have no place.
pub(crate) struct Duplicate {
    pub(crate) key: String,
    pub(crate) at: (u32, u32),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Content>::deserialize(deserializer)?;
        let Content {
            value,
            children,
            duplicate,
        } = spanned.value;
        let at = place(spanned.referenced);
        Ok(Self {
            value,
            spot: Spot {
                key: at,
                value: at,
                children,
            },
            duplicate,
        })
    }
}

fn place(location: Location) -> (u32, u32) {
    (location.line() as u32, location.column() as u32)
}

/// A value without its own place, but with those of what is in it.
struct Content {
    value: Value,
    children: Children,
    duplicate: Option<Duplicate>,
}

impl From<Value> for Content {
    fn from(value: Value) -> Self {
        Self {
            value,
            children: Children::None,
            duplicate: None,
        }
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Value::Null.into())
    }

    fn visit_bool<E>(self, value: bool) -> Result<Content, E> {
        Ok(Value::Bool(value).into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Content, E> {
        Ok(Value::from(value).into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Content, E> {
        Ok(Value::from(value).into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Content, E> {
        // kubectl goes through JSON, where 1e3 and 1.0 are written as integers
        let whole = value.trunc();
        #[expect(clippy::float_cmp, reason = "whether there is a fraction is exact")]
        if whole == value && whole.abs() < 9_007_199_254_740_992.0 {
            return Ok(Value::from(whole as i64).into());
        }
        match Number::from_f64(value) {
            Some(number) => Ok(Value::Number(number).into()),
            None => Err(E::custom("numbers must be finite")),
        }
    }

    fn visit_str<E>(self, value: &str) -> Result<Content, E> {
        Ok(Value::from(value).into())
    }

    fn visit_string<E>(self, value: String) -> Result<Content, E> {
        Ok(Value::from(value).into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Content, A::Error> {
        let mut values = Vec::new();
        let mut spots = Vec::new();
        let mut first = None;
        while let Some(Node {
            value,
            spot,
            duplicate,
        }) = items.next_element()?
        {
            values.push(value);
            spots.push(spot);
            first = first.or(duplicate);
        }
        Ok(Content {
            value: Value::Array(values),
            children: Children::List(spots),
            duplicate: first,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Content, A::Error> {
        let mut values = Map::new();
        let mut spots = BTreeMap::new();
        let mut first = None;
        while let Some(Spanned {
            value: Key(key),
            referenced,
            ..
        }) = entries.next_key()?
        {
            let Node {
                value,
                mut spot,
                duplicate,
            } = entries.next_value()?;
            spot.key = place(referenced);
            first = first.or(duplicate);
            if values.insert(key.clone(), value).is_some() {
                first = first.or(Some(Duplicate {
                    key: key.clone(),
                    at: spot.key,
                }));
            }
            spots.insert(key, spot);
        }
        Ok(Content {
            value: Value::Object(values),
            children: Children::Map(spots),
            duplicate: first,
        })
    }
}

/// A key: text, or the text of a boolean or number.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeyVisitor)
    }
}

struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key: a string, a number or a boolean")
    }

    fn visit_bool<E>(self, key: bool) -> Result<Key, E> {
        Ok(Key(key.to_string()))
    }

    fn visit_i64<E>(self, key: i64) -> Result<Key, E> {
        Ok(Key(key.to_string()))
    }

    fn visit_u64<E>(self, key: u64) -> Result<Key, E> {
        Ok(Key(key.to_string()))
    }

    fn visit_f64<E>(self, key: f64) -> Result<Key, E> {
        Ok(Key(key.to_string()))
    }

    fn visit_str<E>(self, key: &str) -> Result<Key, E> {
        Ok(Key(key.to_owned()))
    }

    fn visit_string<E>(self, key: String) -> Result<Key, E> {
        Ok(Key(key))
    }
}
