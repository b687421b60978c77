//! Credentials (RFC 9110 section 11): Basic (RFC 7617) and Bearer (RFC 6750).

use super::secrets::{SecretDigest, SecretSource};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use selvedge_types::resource::{Auth, SecretRef};
use selvedge_types::{FieldError, Fields, name};
use std::collections::BTreeMap;

/// Who may come in. A secret that could not be read lets nobody in.
#[derive(Debug)]
pub(super) struct Gate {
    users: Option<BTreeMap<Box<[u8]>, SecretDigest>>,
    tokens: Option<Vec<SecretDigest>>,
    challenges: Vec<String>,
    /// Whether the Authorization field goes on to cache and origin.
    pub(super) forward: bool,
}

impl Gate {
    /// Reads the secrets; tells `problem` of those that could not be.
    pub(super) fn new(auth: &Auth, secrets: &dyn SecretSource, problem: &mut dyn FnMut(String)) -> Self {
        let mut digest = |what: &str, reference: &SecretRef| {
            let read = secrets.read(reference).and_then(|content| SecretDigest::of_content(&content));
            read.map_err(|why| problem(format!("{what} is let in nowhere: {why}"))).ok()
        };
        let users = auth.basic.as_ref().map(|basic| {
            let users = basic.users.iter();
            let users = users.filter_map(|(user, r)| Some((user, digest(&format!("the user {user}"), r)?)));
            users.map(|(user, digest)| (user.as_bytes().into(), digest)).collect()
        });
        let tokens = auth.bearer.as_ref().map(|bearer| {
            bearer.tokens.iter().filter_map(|r| digest(&format!("the token of {r}"), r)).collect()
        });
        let basic = auth.basic.as_ref().map(|b| format!("Basic realm=\"{}\", charset=\"UTF-8\"", b.realm));
        let bearer = auth.bearer.as_ref().map(|_| "Bearer".to_owned());
        Gate { users, tokens, challenges: basic.into_iter().chain(bearer).collect(), forward: auth.forward }
    }

    /// Whether the request's credentials let it in.
    pub(super) fn admits(&self, request: &Fields) -> bool {
        let mut lines = request.get_all(name::AUTHORIZATION);
        let (Some(line), None) = (lines.next(), lines.next()) else { return false };
        let Some(space) = line.iter().position(|b| *b == b' ') else { return false };
        let (scheme, credentials) = line.split_at(space);
        let credentials = credentials.trim_ascii();
        if scheme.eq_ignore_ascii_case(b"basic") {
            self.admits_user(credentials)
        } else {
            scheme.eq_ignore_ascii_case(b"bearer") && self.admits_token(credentials)
        }
    }

    fn admits_user(&self, credentials: &[u8]) -> bool {
        let Some(users) = &self.users else { return false };
        let Ok(pair) = STANDARD.decode(credentials) else { return false };
        let Some(colon) = pair.iter().position(|b| *b == b':') else { return false };
        let given = SecretDigest::of(&pair[colon + 1..]);
        // An unknown user takes as long as a known one with a wrong password.
        let nobody = SecretDigest::of(b"");
        let (expected, known) = users.get(&pair[..colon]).map_or((&nobody, false), |digest| (digest, true));
        expected.is(&given) & known
    }

    fn admits_token(&self, token: &[u8]) -> bool {
        let Some(tokens) = &self.tokens else { return false };
        let given = SecretDigest::of(token);
        tokens.iter().fold(false, |found, expected| found | expected.is(&given))
    }

    /// Says in a 401 what is asked for (RFC 9110 section 11.6.1).
    pub(super) fn challenge(&self, response: &mut Fields) -> Result<(), FieldError> {
        self.challenges.iter().try_for_each(|challenge| response.add(name::WWW_AUTHENTICATE, challenge))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_types::Manifest;

    struct Table;
    impl SecretSource for Table {
        fn read(&self, reference: &SecretRef) -> Result<Vec<u8>, String> {
            match reference {
                SecretRef::Env(name) if &**name == "ALICE" => Ok(b"open:sesame\n".to_vec()),
                SecretRef::Env(name) if &**name == "TOKEN" => Ok(b"t0ken".to_vec()),
                _ => Err("not there".into()),
            }
        }
    }

    fn gate(auth: &str) -> (Gate, Vec<String>) {
        let text = format!("[site.a]\nhosts = \"*\"\norigin = \"http://o\"\nauth = {auth}");
        let manifest = Manifest::parse("m", &text).unwrap();
        let site = manifest.sites.into_values().next().unwrap();
        let mut problems = Vec::new();
        let gate = Gate::new(&site.policies.auth.unwrap(), &Table, &mut |p| problems.push(p));
        (gate, problems)
    }

    fn admits(gate: &Gate, authorization: &str) -> bool {
        gate.admits(&Fields::from_wire(format!("Authorization: {authorization}\r\n").as_bytes()).unwrap())
    }

    #[test]
    fn credentials_let_in_those_they_belong_to() {
        let (gate, problems) = gate(
            "{ basic = { users = { alice = \"env:ALICE\", bob = \"env:BOB\" } }, bearer = { tokens = \"env:TOKEN\" } }",
        );
        assert_eq!(problems, ["the user bob is let in nowhere: not there"]);
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        for (authorization, expected) in [
            (basic("alice:open:sesame"), true),
            (basic("alice:open").to_lowercase(), false),
            (basic("alice:"), false),
            (basic("bob:"), false),
            (basic("carol:"), false),
            (basic("alice"), false),
            ("Basic !!!".into(), false),
            ("Bearer t0ken".into(), true),
            ("bearer  t0ken".into(), true),
            ("Bearer t0ke".into(), false),
            ("t0ken".into(), false),
            ("Digest x".into(), false),
        ] {
            assert_eq!(admits(&gate, &authorization), expected, "{authorization}");
        }
        assert!(!gate.admits(&Fields::new()));
        let two =
            Fields::from_wire(b"Authorization: Bearer t0ken\r\nAuthorization: Bearer t0ken\r\n").unwrap();
        assert!(!gate.admits(&two), "two fields are ambiguous");
    }

    #[test]
    fn the_challenge_names_each_kind() {
        let (gate, _) = gate(
            "{ basic = { realm = \"docs\", users = { alice = \"env:ALICE\" } }, bearer = { tokens = \"env:TOKEN\" } }",
        );
        let mut fields = Fields::new();
        gate.challenge(&mut fields).unwrap();
        let all: Vec<_> = fields.get_all(name::WWW_AUTHENTICATE).collect();
        assert_eq!(all, [&b"Basic realm=\"docs\", charset=\"UTF-8\""[..], b"Bearer"]);
    }
}
