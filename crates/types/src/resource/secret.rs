//! References to secrets. A manifest never holds a secret itself.

use super::text::{Text, TextError, text_value};
use std::fmt;

/// Where a secret is found by the node that needs it: `env:NAME` or `file:PATH`.
///
/// Reading it is the driver's work; this crate does no I/O. The referenced content is the secret, or
/// `sha256:` and the hex digest of it; one line end after it is ignored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretRef {
    /// An environment variable of the node's process.
    Env(Box<str>),
    /// A file that the node can read.
    File(Box<str>),
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretRef::Env(name) => write!(f, "env:{name}"),
            SecretRef::File(path) => write!(f, "file:{path}"),
        }
    }
}

impl Text for SecretRef {
    const FORMAT: &'static str = "secret-ref";
    const ABOUT: &'static str = "where a secret is found: `env:NAME` or `file:PATH`";
    fn parse_text(text: &str) -> Result<Self, TextError> {
        let help = "put it in an environment variable or a file and write `env:NAME` or `file:PATH` here";
        match text.split_once(':') {
            Some(("env", name)) if is_variable_name(name) => Ok(SecretRef::Env(name.into())),
            Some(("file", path)) if !path.is_empty() => Ok(SecretRef::File(path.into())),
            Some(("env" | "file", _)) => Err(TextError::new("this reference names nothing", help)),
            // The text is not repeated: it may be the secret.
            _ => Err(TextError::new("a secret may not stand in a manifest", help)),
        }
    }
}
text_value!(SecretRef);

fn is_variable_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_secret_is_refused_and_not_repeated() {
        for text in ["env:TOKEN", "file:/etc/x"] {
            assert_eq!(SecretRef::parse_text(text).unwrap().to_string(), text);
        }
        for bad in ["hunter2", "env:", "file:", "env:A B", ""] {
            let error = SecretRef::parse_text(bad).unwrap_err();
            assert!(!error.to_string().contains("hunter2") && error.help.contains("env:NAME"), "{bad}");
        }
    }
}
