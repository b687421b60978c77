//! Values that stand in a manifest as one piece of text, such as `"30s"` or `"docs.example.com"`.
//!
//! Each is parsed once, here; what holds the type holds a checked value. The same text form is used in
//! manifests, in the API's JSON and in snapshots.

/// Why a text is not the value it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}; {help}")]
pub struct TextError {
    /// What is wrong.
    pub message: String,
    /// What to write in its place.
    pub help: String,
}

impl TextError {
    /// An error with its remedy.
    pub fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        TextError { message: message.into(), help: help.into() }
    }
}

/// A value with one text form. `Display` writes what `parse_text` reads.
pub trait Text: Sized + std::fmt::Display {
    /// The name of the form in JSON Schema's `format`.
    const FORMAT: &'static str;
    /// What the form looks like, for people.
    const ABOUT: &'static str;

    /// Reads the text form.
    fn parse_text(text: &str) -> Result<Self, TextError>;
}

/// Gives a [`Text`] type serde's and schemars' traits and `FromStr`.
macro_rules! text_value {
    ($type:ty) => {
        impl std::str::FromStr for $type {
            type Err = $crate::resource::TextError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                <$type as $crate::resource::Text>::parse_text(text)
            }
        }
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
                <$type as $crate::resource::Text>::parse_text(&text).map_err(serde::de::Error::custom)
            }
        }
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                <$type as $crate::resource::Text>::FORMAT.into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "format": <$type as $crate::resource::Text>::FORMAT,
                })
            }
        }
    };
}
pub(crate) use text_value;

/// One value, or a list of them: `"a"` and `["a", "b"]` are both accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        OneOrMany(Vec::new())
    }
}

impl<T> std::ops::Deref for OneOrMany<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> FromIterator<T> for OneOrMany<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        OneOrMany(items.into_iter().collect())
    }
}

impl<T: serde::Serialize> serde::Serialize for OneOrMany<T> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl<'de, T: serde::Deserialize<'de>> serde::Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Form<T> {
            Many(Vec<T>),
            One(T),
        }
        Ok(match Form::deserialize(from)? {
            Form::Many(items) => OneOrMany(items),
            Form::One(item) => OneOrMany(vec![item]),
        })
    }
}

impl<T: schemars::JsonSchema> schemars::JsonSchema for OneOrMany<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("OneOrMany_{}", T::schema_name()).into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let item = generator.subschema_for::<T>();
        schemars::json_schema!({ "anyOf": [item, { "type": "array", "items": item }] })
    }
}
