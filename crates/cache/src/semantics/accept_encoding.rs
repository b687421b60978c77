//! Content codings and Accept-Encoding (RFC 9110 section 12.5.3).

use super::list::members;
use super::quality::{Quality, split_quality};
use selvedge_types::resource::Coding;
use selvedge_types::{Fields, name};

/// The codings that are recognised, in the order in which they are preferred.
pub const CODINGS: [Coding; 3] = [Coding::Zstd, Coding::Br, Coding::Gzip];

/// The coding that a content-coding name stands for in any case, if it is recognised.
pub fn parse_coding(text: &[u8]) -> Option<Coding> {
    if text.eq_ignore_ascii_case(b"x-gzip") {
        return Some(Coding::Gzip);
    }
    CODINGS.into_iter().find(|c| c.as_str().as_bytes().eq_ignore_ascii_case(text))
}

/// Which codings a request accepts, and how much.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AcceptEncoding {
    coded: [Quality; 3],
    plain: Quality,
}

impl AcceptEncoding {
    /// Nothing but the plain form: what a request without the field gets, although it would have to
    /// accept anything; clients that send none rarely decode anything.
    pub const PLAIN: AcceptEncoding = AcceptEncoding { coded: [Quality::ZERO; 3], plain: Quality::ONE };

    /// Reads a request's Accept-Encoding; members that cannot be read are ignored.
    pub fn of(request: &Fields) -> Self {
        let (mut coded, mut plain, mut any) = ([None; 3], None, None);
        for (coding, quality) in
            request.get_all(name::ACCEPT_ENCODING).flat_map(members).filter_map(split_quality)
        {
            match parse_coding(coding) {
                Some(known) => coded[known as usize] = Some(quality),
                None if coding.eq_ignore_ascii_case(b"identity") => plain = Some(quality),
                None if coding == b"*" => any = Some(quality),
                None => {}
            }
        }
        AcceptEncoding {
            coded: coded.map(|q| q.or(any).unwrap_or(Quality::ZERO)),
            // The plain form is acceptable unless excluded (section 12.5.3), but the least wanted if not named.
            plain: plain.or(any).unwrap_or(Quality::LEAST),
        }
    }

    /// Whether `coding` is acceptable.
    pub fn accepts(&self, coding: Coding) -> bool {
        self.coded[coding as usize] > Quality::ZERO
    }

    /// Whether the plain form (`identity`) is acceptable.
    pub fn accepts_plain(&self) -> bool {
        self.plain > Quality::ZERO
    }

    /// The acceptable one of `available` that is wanted most, the first of equals; none if the plain form is
    /// wanted more, or none of them is acceptable.
    pub fn best(&self, available: &[Coding]) -> Option<Coding> {
        let quality = |c: Coding| self.coded[c as usize];
        let acceptable = available.iter().copied().filter(|c| self.accepts(*c));
        let best = acceptable.reduce(|best, c| if quality(c) > quality(best) { c } else { best })?;
        (quality(best) >= self.plain).then_some(best)
    }

    /// The set of acceptable codings as four bits: all requests with the same set share a variant.
    pub fn set(&self) -> u8 {
        let coded = CODINGS.into_iter().fold(0, |bits, c| bits | u8::from(self.accepts(c)) << c as u8);
        coded | u8::from(self.accepts_plain()) << 3
    }

    /// The value to send to the origin in place of the client's, so that what comes back suits everyone with
    /// the same set; none if only the plain form is acceptable.
    pub fn normalized(&self) -> Option<&'static str> {
        const WITH_PLAIN: [&str; 8] =
            ["", "zstd", "br", "zstd, br", "gzip", "zstd, gzip", "br, gzip", "zstd, br, gzip"];
        const WITHOUT: [&str; 8] = [
            "identity;q=0",
            "zstd, identity;q=0",
            "br, identity;q=0",
            "zstd, br, identity;q=0",
            "gzip, identity;q=0",
            "zstd, gzip, identity;q=0",
            "br, gzip, identity;q=0",
            "zstd, br, gzip, identity;q=0",
        ];
        let coded = usize::from(self.set() & 0b111);
        let text = if self.accepts_plain() { WITH_PLAIN[coded] } else { WITHOUT[coded] };
        (!text.is_empty()).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn accept(value: &str) -> AcceptEncoding {
        let mut fields = Fields::new();
        fields.add(name::ACCEPT_ENCODING, value).unwrap();
        AcceptEncoding::of(&fields)
    }

    #[test]
    fn the_best_available_coding_is_chosen() {
        use Coding::*;
        for (value, expected) in [
            ("gzip, deflate, br, zstd", Some(Zstd)),
            ("gzip, br", Some(Br)),
            ("gzip;q=1.0, br;q=0.5", Some(Gzip)),
            ("x-gzip", Some(Gzip)),
            ("GZIP", Some(Gzip)),
            ("br;q=0, gzip;q=0", None),
            ("deflate", None),
            ("", None),
            ("*", Some(Zstd)),
            ("*;q=0.5, br", Some(Br)),
            ("*;q=0", None),
            ("identity;q=0", None),
            ("identity;q=0, gzip", Some(Gzip)),
            ("identity, gzip;q=0.5", None),
            ("gzip;q=0.001", Some(Gzip)),
            ("gzip;q=2", None),
            ("gzip ; q=0.8", Some(Gzip)),
        ] {
            assert_eq!(accept(value).best(&CODINGS), expected, "{value}");
        }
        assert_eq!(AcceptEncoding::of(&Fields::new()).best(&[Gzip]), None);
        assert_eq!(accept("br, gzip").best(&[Gzip]), Some(Gzip));
        assert_eq!(accept("br").best(&[]), None);
    }

    #[test]
    fn the_plain_form_is_acceptable_unless_excluded() {
        for (value, plain) in
            [("", true), ("gzip", true), ("*;q=0", false), ("identity;q=0", false), ("*;q=0, identity", true)]
        {
            assert_eq!(accept(value).accepts_plain(), plain, "{value}");
        }
    }

    #[test]
    fn equal_sets_are_equal_however_they_are_written() {
        for (a, b) in [
            ("gzip, br", "br,gzip;q=0.3"),
            ("gzip, br", "deflate, BR, x-gzip"),
            ("", "deflate"),
            ("identity", "identity;q=0.5, compress"),
        ] {
            assert_eq!(accept(a).set(), accept(b).set());
        }
        assert_ne!(accept("gzip").set(), accept("gzip, identity;q=0").set());
        assert_eq!(AcceptEncoding::of(&Fields::new()).set(), accept("").set());
    }

    proptest! {
        #[test]
        fn the_normalized_value_means_the_same_set(value in "[a-z*;=, 0-9.]{0,40}|((gzip|br|zstd|identity|\\*)(;q=(0|1|0\\.5))?,){0,5}") {
            let client = accept(&value);
            let forwarded = client.normalized().map_or(AcceptEncoding::PLAIN, accept);
            prop_assert_eq!(client.set(), forwarded.set());
        }
    }
}
