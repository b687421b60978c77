//! The texts with a form of their own, by the name of the form in the schema.

use crate::message::Method;
use crate::resource::*;

/// A form: its name, what it looks like, and a check.
pub(super) struct Format {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) check: fn(&str) -> Result<(), TextError>,
}

const fn format<T: Text>() -> Format {
    Format { name: T::FORMAT, about: T::ABOUT, check: |text| T::parse_text(text).map(|_| ()) }
}

/// Every form.
pub(super) const FORMATS: [Format; 24] = [
    format::<ByteSize>(),
    format::<Consistency>(),
    format::<Destination>(),
    format::<FieldName>(),
    format::<Glob>(),
    format::<HostPattern>(),
    format::<KeyspaceName>(),
    format::<ListenAddress>(),
    format::<Method>(),
    format::<MutableField>(),
    format::<Namespace>(),
    format::<Network>(),
    format::<OriginHost>(),
    format::<OriginName>(),
    format::<PathPattern>(),
    format::<Period>(),
    format::<Rate>(),
    format::<RateKey>(),
    format::<SecretRef>(),
    format::<SiteName>(),
    format::<StatusRange>(),
    format::<TargetUrl>(),
    format::<Template>(),
    format::<UpgradeProtocol>(),
];

pub(super) fn find(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|f| f.name == name)
}

/// The name of every form of text that the schema knows, and what it looks like.
pub fn forms() -> impl Iterator<Item = (&'static str, &'static str)> {
    FORMATS.iter().map(|f| (f.name, f.about))
}
