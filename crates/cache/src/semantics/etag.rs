//! Validators (RFC 9110 section 8.8): entity tags and modification dates, weak and strong.

use super::age::{date_value, single_date};
use super::list::entity_tags;
use selvedge_types::fields::trim;
use selvedge_types::{Fields, UnixMillis, name};

/// An entity tag. One without quotes is kept as it came and matches only itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntityTag<'a> {
    /// It began with `W/`.
    pub weak: bool,
    /// The rest, quotes included.
    pub opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    /// Reads a tag; none if it is empty.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let text = trim(text);
        let (weak, opaque) = text.strip_prefix(b"W/").map_or((false, text), |rest| (true, rest));
        (!opaque.is_empty()).then_some(EntityTag { weak, opaque })
    }

    /// Both are strong and the same (section 8.8.3.2).
    pub fn matches_strongly(self, other: EntityTag<'_>) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    /// The same but for weakness (section 8.8.3.2).
    pub fn matches_weakly(self, other: EntityTag<'_>) -> bool {
        self.opaque == other.opaque
    }

    /// Whether a list such as If-None-Match holds `*` or a tag for which `matches` says so.
    pub fn is_listed<'b>(
        mut values: impl Iterator<Item = &'b [u8]>,
        mut matches: impl FnMut(EntityTag<'b>) -> bool,
    ) -> bool {
        values.any(|v| trim(v) == b"*" || entity_tags(v).filter_map(EntityTag::parse).any(&mut matches))
    }
}

/// A response's validators.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Validators<'a> {
    /// ETag, if there is exactly one.
    pub etag: Option<EntityTag<'a>>,
    /// Last-Modified, if it is one valid date.
    pub last_modified: Option<UnixMillis>,
    /// Last-Modified is at least a second before Date, so it can serve as a strong validator
    /// (section 8.8.2.2).
    pub last_modified_is_strong: bool,
}

impl<'a> Validators<'a> {
    /// Reads a response's fields; `now` decides the century of two-digit years.
    pub fn of(fields: &'a Fields, now: UnixMillis) -> Self {
        let mut tags = fields.get_all(name::ETAG);
        let etag = tags.next().filter(|_| tags.next().is_none()).and_then(EntityTag::parse);
        let last_modified = single_date(fields, name::LAST_MODIFIED, now);
        let date = date_value(fields, now);
        let last_modified_is_strong =
            last_modified.zip(date).is_some_and(|(lm, date)| lm.secs() < date.secs());
        Validators { etag, last_modified, last_modified_is_strong }
    }

    /// The validator that proves two representations equal byte by byte, as it is sent in If-Range.
    pub fn strong(&self) -> Option<Strong<'a>> {
        match self.etag {
            Some(tag) if !tag.weak => Some(Strong::Tag(tag)),
            Some(_) => None,
            None => self.last_modified.filter(|_| self.last_modified_is_strong).map(Strong::Date),
        }
    }
}

/// A strong validator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Strong<'a> {
    /// A strong entity tag.
    Tag(EntityTag<'a>),
    /// A Last-Modified that is strong.
    Date(UnixMillis),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparison_follows_the_rfcs_table() {
        for (a, b, strong, weak) in [
            (r#"W/"1""#, r#"W/"1""#, false, true),
            (r#"W/"1""#, r#"W/"2""#, false, false),
            (r#"W/"1""#, r#""1""#, false, true),
            (r#""1""#, r#""1""#, true, true),
            (r#"abc"#, r#""abc""#, false, false),
            (r#"abc"#, r#"abc"#, true, true),
        ] {
            let (a, b) = (EntityTag::parse(a.as_bytes()).unwrap(), EntityTag::parse(b.as_bytes()).unwrap());
            assert_eq!((a.matches_strongly(b), a.matches_weakly(b)), (strong, weak), "{a:?} {b:?}");
        }
    }

    #[test]
    fn tags_are_found_in_lists() {
        let tag = EntityTag::parse(br#""a,b""#).unwrap();
        for (list, found) in [
            (r#""a,b""#, true),
            (r#""x", "a,b""#, true),
            (r#""x", W/"a,b", "y""#, true),
            (r#""a", "b""#, false),
            ("*", true),
            (" * ", true),
            ("", false),
        ] {
            let matches = EntityTag::is_listed([list.as_bytes()].into_iter(), |t| t.matches_weakly(tag));
            assert_eq!(matches, found, "{list}");
        }
    }

    #[test]
    fn a_modification_date_is_strong_if_a_second_passed_before_the_response() {
        let now = UnixMillis::from_secs(1_790_000_000);
        let lm = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        for (wire, strong) in [
            (lm.to_owned(), false),
            (format!("{lm}Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"), false),
            (format!("{lm}Date: Sun, 06 Nov 1994 08:49:38 GMT\r\n"), true),
            (format!("{lm}Date: Sun, 06 Nov 1994 08:49:38 GMT\r\nETag: W/\"a\"\r\n"), false),
            ("ETag: \"a\"\r\n".to_owned(), true),
        ] {
            let fields = Fields::from_wire(wire.as_bytes()).unwrap();
            assert_eq!(Validators::of(&fields, now).strong().is_some(), strong, "{wire}");
        }
    }
}
