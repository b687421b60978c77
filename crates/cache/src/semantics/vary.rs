//! Secondary keys: the request fields that Vary names (RFC 9111 section 4.1).

use super::accept_encoding::AcceptEncoding;
use super::accept_language;
use super::hash::{KeyHash, KeyHasher};
use super::list::members;
use selvedge_types::fields::is_token;
use selvedge_types::{Fields, Name, name};

/// How many languages of a resource are remembered.
pub const LANGUAGES_KNOWN_MAX: usize = 16;

/// How many fields a response may vary on; one with more is treated as `Vary: *`.
pub const VARY_NAMES_MAX: usize = 16;

/// What a response varies on.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum Vary {
    /// Nothing.
    #[default]
    None,
    /// These request fields.
    On(VaryNames),
    /// Something that no request shows (`*`), or something that cannot be followed: never reused.
    Star,
}

/// The names of request fields, and with Accept-Language among them the languages that the resource is known to
/// have: a request whose one favourite is there gets it, however it words the rest of its wishes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct VaryNames {
    /// Lowercase, sorted, without repetition, joined by commas.
    names: Box<[u8]>,
    /// Lowercase, sorted, without repetition, joined by semicolons.
    languages: Box<[u8]>,
}

impl Vary {
    /// Reads a response's Vary.
    pub fn parse(response: &Fields) -> Vary {
        let mut names: Vec<Vec<u8>> = Vec::new();
        for member in response.get_all(name::VARY).flat_map(members) {
            if member == b"*" || !is_token(member) || names.len() > VARY_NAMES_MAX {
                return Vary::Star;
            }
            names.push(member.to_ascii_lowercase());
        }
        names.sort();
        names.dedup();
        match names.len() {
            0 => Vary::None,
            n if n > VARY_NAMES_MAX => Vary::Star,
            _ => {
                let by_language = names.iter().any(|n| Name::find(n) == Some(name::ACCEPT_LANGUAGE));
                let language = by_language.then(|| language_of(response)).flatten().unwrap_or_default();
                Vary::On(VaryNames { names: names.join(&b',').into(), languages: language.into() })
            }
        }
    }
}

impl VaryNames {
    /// The names, joined by commas, and, if languages are known, `=` and these, joined by semicolons: as kept
    /// on disk.
    pub fn to_bytes(&self) -> Vec<u8> {
        if self.languages.is_empty() {
            return self.names.to_vec();
        }
        [&self.names, &b"="[..], &self.languages].concat()
    }

    /// How many bytes each of its allocations has.
    pub fn allocated_lens(&self) -> impl Iterator<Item = usize> {
        [self.names.len(), self.languages.len()].into_iter()
    }

    /// Reads what [`VaryNames::to_bytes`] gave; none if it cannot have.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut parts = bytes.splitn(2, |b| *b == b'=');
        let (names, languages) = (parts.next()?, parts.next().unwrap_or_default());
        let mut fields = Fields::new();
        fields.add(name::VARY, names).ok()?;
        let Vary::On(found) = Vary::parse(&fields) else { return None };
        let found = VaryNames { languages: languages.into(), ..found };
        let sorted = found.languages().is_sorted_by(|a, b| a < b);
        (found.to_bytes() == bytes && sorted && found.languages().all(is_token)).then_some(found)
    }

    /// The names, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.names.split(|b| *b == b',')
    }

    /// These names with the languages that `known` tells of as well, if it is about the same names.
    #[must_use]
    pub fn joined(self, known: &VaryNames) -> VaryNames {
        if self.names != known.names || known.languages.is_empty() {
            return self;
        }
        let mut all: Vec<&[u8]> = self.languages().chain(known.languages()).collect();
        all.sort();
        all.dedup();
        all.truncate(LANGUAGES_KNOWN_MAX);
        let languages = all.join(&b';').into();
        VaryNames { languages, ..self }
    }

    fn languages(&self) -> impl Iterator<Item = &[u8]> {
        self.languages.split(|b| *b == b';').filter(|l| !l.is_empty())
    }

    /// The known language that is a request's one favourite.
    fn chosen_language(&self, request: &Fields) -> Option<&[u8]> {
        if self.languages.is_empty() {
            return None;
        }
        let favourites = accept_language::favourites(request.get_all(name::ACCEPT_LANGUAGE));
        let mut wanted = self.languages().filter(|known| favourites.iter().any(|f| f == known));
        // Of several the origin would choose, nobody knows which.
        wanted.next().filter(|_| wanted.next().is_none())
    }

    /// The secondary key of `request`: two requests with the same one get the same stored response.
    /// `scratch` is overwritten; give the same one again to save allocations.
    pub fn key(&self, request: &Fields, hasher: &KeyHasher, scratch: &mut Vec<u8>) -> KeyHash {
        scratch.clear();
        self.push_values(request, scratch);
        // Room for the values of Accept-Encoding and little more, which is nearly always all there is.
        let mut short = [0; 8];
        match short[1..].get_mut(..scratch.len()) {
            Some(room) => room.copy_from_slice(scratch),
            None => {
                scratch.extend_from_slice(&self.names);
                return hasher.hash(scratch);
            }
        }
        short[0] = 1 + scratch.len() as u8;
        hasher.hash_pair(fnv1a(&self.names), u64::from_le_bytes(short))
    }

    /// Appends the normalised values, one line a field in the order of [`VaryNames::iter`]; a present field's
    /// line begins with `:`.
    pub fn push_values(&self, request: &Fields, out: &mut Vec<u8>) {
        for text in self.iter() {
            match self.chosen_language(request).filter(|_| text == b"accept-language") {
                // No value that came holds NUL.
                Some(language) => {
                    out.extend_from_slice(b":\0");
                    out.extend_from_slice(language);
                }
                None => push_value(out, text, request),
            }
            out.push(b'\n');
        }
    }
}

/// The language of a response's content, if it is one.
fn language_of(response: &Fields) -> Option<Vec<u8>> {
    let mut languages = response.get_all(name::CONTENT_LANGUAGE).flat_map(members);
    let language = languages.next().filter(|l| is_token(l))?;
    languages.next().is_none().then(|| language.to_ascii_lowercase())
}

/// FNV-1a, 64 bits. The names are the origin's; one that sought collisions would harm its own site alone.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

fn push_value(out: &mut Vec<u8>, text: &[u8], request: &Fields) {
    match Name::find(text) {
        // A request without the field counts as one that accepts the plain form only.
        Some(name::ACCEPT_ENCODING) => out.extend([b':', b'0' + AcceptEncoding::of(request).set()]),
        Some(name::ACCEPT_LANGUAGE) if request.contains(name::ACCEPT_LANGUAGE) => {
            out.push(b':');
            if !accept_language::push_normalized(out, request.get_all(name::ACCEPT_LANGUAGE)) {
                push_members(out, request.get_all(name::ACCEPT_LANGUAGE));
            }
        }
        Some(known) if request.contains(known) => {
            out.push(b':');
            push_members(out, request.get_all(known));
        }
        Some(_) => {}
        None => {
            let mut values = request.get_all_named(text).peekable();
            if values.peek().is_some() {
                out.push(b':');
                push_members(out, values);
            }
        }
    }
}

/// Lines combined and white space around commas dropped, which RFC 9111 section 4.1 allows for any list;
/// the order of members stays.
fn push_members<'a>(out: &mut Vec<u8>, values: impl Iterator<Item = &'a [u8]>) {
    for (i, member) in values.flat_map(members).enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(member);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields(wire: &str) -> Fields {
        Fields::from_wire(wire.replace('|', "\r\n").as_bytes()).unwrap()
    }

    fn vary(wire: &str) -> Vary {
        Vary::parse(&fields(wire))
    }

    fn names(wire: &str) -> VaryNames {
        match vary(wire) {
            Vary::On(names) => names,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn vary_is_read() {
        assert_eq!(vary("X: y|"), Vary::None);
        assert_eq!(vary("Vary: |"), Vary::None);
        for star in ["*", "*, *", ", *", "Foo, *", "*, Foo", "foo bar", "\"foo\""] {
            assert_eq!(vary(&format!("Vary: {star}|")), Vary::Star, "{star}");
        }
        assert_eq!(vary("Vary: Foo|Vary: *|"), Vary::Star);
        assert_eq!(names("Vary: Foo, BAR|Vary: foo|").to_bytes(), b"bar,foo");
        let many: Vec<_> = (0..=VARY_NAMES_MAX).map(|i| format!("f{i}")).collect();
        assert_eq!(vary(&format!("Vary: {}|", many.join(","))), Vary::Star);
        assert!(matches!(vary(&format!("Vary: {}|", many[1..].join(","))), Vary::On(_)));
    }

    #[test]
    fn names_come_back_from_disk() {
        let kept = names("Vary: Foo, Accept|");
        assert_eq!(VaryNames::from_bytes(&kept.to_bytes()), Some(kept));
        let kept = names("Vary: Accept-Language|Content-Language: de|");
        assert_eq!(kept.to_bytes(), b"accept-language=de");
        assert_eq!(VaryNames::from_bytes(&kept.to_bytes()), Some(kept));
        for bad in ["", "*", "Foo", "foo,bar", "a,,b", "a b", "a=", "a=b;b", "a=c;b", "a=b c"] {
            assert_eq!(VaryNames::from_bytes(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn requests_match_if_the_named_fields_mean_the_same() {
        for (on, a, b, same) in [
            ("Foo", "Foo: 1|", "Foo: 1|Bar: 2|", true),
            ("Foo", "Foo: 1|", "Foo: 2|", false),
            ("Foo", "Foo: 1|", "", false),
            ("Foo", "", "Bar: 1|", true),
            ("Foo", "Foo: |", "", false),
            ("Foo", "Foo: 1, 2|", "foo: 1|Foo: 2|", true),
            ("Foo", "Foo: 1,2|", "Foo: 1 ,  2|", true),
            ("Foo", "Foo: 1, 2|", "Foo: 2, 1|", false),
            ("Foo", "Foo: \"1,2\"|", "Foo: \"1, 2\"|", false),
            ("Foo", "Foo: a|", "Foo: A|", false),
            ("Foo, Bar", "Foo: 1|Bar: 2|", "Bar: 2|Foo: 1|", true),
            ("Foo, Bar", "Foo: 1|", "Bar: 1|", false),
            ("Accept-Language", "Accept-Language: en, de|", "Accept-Language: DE,en|", true),
            ("Accept-Language", "Accept-Language: en|", "", false),
            ("Accept-Language", "Accept-Language: \"x\" , y|", "Accept-Language: \"x\",y|", true),
            ("Accept-Encoding", "Accept-Encoding: gzip, br|", "Accept-Encoding: br;q=0.9,gzip,foo|", true),
            ("Accept-Encoding", "Accept-Encoding: gzip|", "", false),
            ("Accept-Encoding", "Accept-Encoding: foo|", "", true),
            ("User-Agent", "User-Agent: a|", "User-Agent: b|", false),
        ] {
            let (names, hasher, mut scratch) =
                (names(&format!("Vary: {on}|")), KeyHasher::new([0; 32]), Vec::new());
            let mut key = |wire| names.key(&fields(wire), &hasher, &mut scratch);
            assert_eq!(key(a) == key(b), same, "{on}: {a} {b}");
        }
    }

    #[test]
    fn a_request_gets_its_favourite_language_if_it_is_known_to_be_there() {
        let vary = |language: &str| names(&format!("Vary: Accept-Language|Content-Language: {language}|"));
        let hasher = KeyHasher::new([0; 32]);
        let key = |names: &VaryNames, wish: &str| {
            names.key(&fields(&format!("Accept-Language: {wish}|")), &hasher, &mut Vec::new())
        };
        let german = vary("de");
        for (a, b, same) in [
            ("en, de", "fr;q=0.5, DE;q=1.0", true),
            ("en, de", "de", true),
            ("en, de", "en", false),
            ("en, de", "de;q=0.5, en", false),
            ("fr", "en", false),
        ] {
            assert_eq!(key(&german, a) == key(&german, b), same, "{a} {b}");
        }
        let both = vary("en").joined(&german);
        assert_eq!(both.to_bytes(), b"accept-language=de;en");
        assert_eq!(key(&both, "de"), key(&german, "de"), "what is stored is still found");
        assert_ne!(key(&both, "en, de"), key(&both, "de"), "the origin chooses between equals");
        assert_eq!(vary("de, en"), names("Vary: Accept-Language|"), "more than one language is none");
        assert_eq!(names("Vary: Foo|Content-Language: de|"), names("Vary: Foo|"));
        let all = (0..40).map(|i| vary(&format!("x{i}")));
        let all = all.reduce(|known, new| new.joined(&known)).unwrap();
        assert_eq!(all.languages().count(), LANGUAGES_KNOWN_MAX);
    }

    #[test]
    fn other_names_give_another_key() {
        let (hasher, request) = (KeyHasher::new([0; 32]), fields("Foo: 1|Bar: 1|"));
        let key = |on: &str| names(&format!("Vary: {on}|")).key(&request, &hasher, &mut Vec::new());
        assert_ne!(key("Foo"), key("Bar"));
        let long = fields("Foo: 123456789|Bar: 123456789|");
        let key = |on: &str| names(&format!("Vary: {on}|")).key(&long, &hasher, &mut Vec::new());
        assert_ne!(key("Foo"), key("Bar"));
        assert_eq!(key("Foo, Bar"), key("bar,foo"));
    }

    proptest! {
        #[test]
        fn lines_of_different_fields_are_never_confused(a in "[ -~]{0,10}", b in "[ -~]{0,10}") {
            let request = |x: &str, y: &str| {
                let mut f = Fields::new();
                f.append(b"x", x.as_bytes()).unwrap();
                f.append(b"y", y.as_bytes()).unwrap();
                f
            };
            let canonical = |f: &Fields| {
                let mut out = Vec::new();
                names("Vary: x, y|").push_values(f, &mut out);
                out
            };
            let lines = canonical(&request(&a, &b));
            prop_assert_eq!(lines.iter().filter(|c| **c == b'\n').count(), 2);
        }
    }
}
