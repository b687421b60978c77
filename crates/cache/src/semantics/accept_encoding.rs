//! Content codings and Accept-Encoding (RFC 9110 section 12.5.3).

use super::list::members;
use super::quality::{Quality, split_quality};
use selvedge_types::{Fields, name};

/// A content coding that this program can produce or recognise.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Coding {
    /// `zstd` (RFC 8878)
    Zstd = 0,
    /// `br` (RFC 7932)
    Br = 1,
    /// `gzip`, also spelled `x-gzip`
    Gzip = 2,
    /// `identity`: none
    Identity = 3,
}

impl Coding {
    /// All codings, in the order in which they are preferred.
    pub const ALL: [Coding; 4] = [Coding::Zstd, Coding::Br, Coding::Gzip, Coding::Identity];

    /// The coding's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Coding::Zstd => "zstd",
            Coding::Br => "br",
            Coding::Gzip => "gzip",
            Coding::Identity => "identity",
        }
    }

    /// The coding that `text` names in any case.
    pub fn parse(text: &[u8]) -> Option<Coding> {
        if text.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Coding::Gzip);
        }
        Coding::ALL.into_iter().find(|c| c.as_str().as_bytes().eq_ignore_ascii_case(text))
    }
}

/// Which codings a request accepts, and how much.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AcceptEncoding {
    qualities: [Quality; 4],
}

impl AcceptEncoding {
    /// Nothing but the plain form: what a request without the field gets, although it would have to
    /// accept anything; clients that send none rarely decode anything.
    pub const IDENTITY: AcceptEncoding =
        AcceptEncoding { qualities: [Quality::ZERO, Quality::ZERO, Quality::ZERO, Quality::ONE] };

    /// Reads a request's Accept-Encoding; members that cannot be read are ignored.
    pub fn of(request: &Fields) -> Self {
        let mut stated = [None; 4];
        let mut any = None;
        for (coding, quality) in
            request.get_all(name::ACCEPT_ENCODING).flat_map(members).filter_map(split_quality)
        {
            match Coding::parse(coding) {
                Some(known) => stated[known as usize] = Some(quality),
                None if coding == b"*" => any = Some(quality),
                None => {}
            }
        }
        let otherwise = any.unwrap_or(Quality::ZERO);
        let mut qualities = stated.map(|q| q.unwrap_or(otherwise));
        // The plain form is acceptable unless excluded (section 12.5.3), but the least wanted if not named.
        qualities[Coding::Identity as usize] = stated[3].or(any).unwrap_or(Quality::LEAST);
        AcceptEncoding { qualities }
    }

    /// Whether `coding` is acceptable.
    pub fn accepts(&self, coding: Coding) -> bool {
        self.qualities[coding as usize] > Quality::ZERO
    }

    /// The acceptable one of `available` that is wanted most, the first of equals.
    pub fn best(&self, available: &[Coding]) -> Option<Coding> {
        let quality = |c: Coding| self.qualities[c as usize];
        let acceptable = available.iter().copied().filter(|c| self.accepts(*c));
        acceptable.reduce(|best, c| if quality(c) > quality(best) { c } else { best })
    }

    /// The set of acceptable codings as four bits: all requests with the same set share a variant.
    pub fn set(&self) -> u8 {
        Coding::ALL.into_iter().fold(0, |bits, c| bits | u8::from(self.accepts(c)) << c as u8)
    }

    /// The value to send to the origin in place of the client's, so that what comes back suits everyone with
    /// the same set; none if only the plain form is acceptable.
    pub fn normalized(&self) -> Option<&'static str> {
        const PLAIN: [&str; 8] =
            ["", "zstd", "br", "zstd, br", "gzip", "zstd, gzip", "br, gzip", "zstd, br, gzip"];
        const NEVER_PLAIN: [&str; 8] = [
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
        let text = if self.accepts(Coding::Identity) { PLAIN[coded] } else { NEVER_PLAIN[coded] };
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
            ("br;q=0, gzip;q=0", Some(Identity)),
            ("deflate", Some(Identity)),
            ("", Some(Identity)),
            ("*", Some(Zstd)),
            ("*;q=0.5, br", Some(Br)),
            ("*;q=0", None),
            ("identity;q=0", None),
            ("identity;q=0, gzip", Some(Gzip)),
            ("identity, gzip;q=0.5", Some(Identity)),
            ("gzip;q=0.001", Some(Gzip)),
            ("gzip;q=2", Some(Identity)),
            ("gzip ; q=0.8", Some(Gzip)),
        ] {
            assert_eq!(accept(value).best(&Coding::ALL), expected, "{value}");
        }
        assert_eq!(AcceptEncoding::of(&Fields::new()).best(&[Gzip, Identity]), Some(Identity));
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
            let forwarded = client.normalized().map_or(AcceptEncoding::IDENTITY, accept);
            prop_assert_eq!(client.set(), forwarded.set());
        }
    }
}
