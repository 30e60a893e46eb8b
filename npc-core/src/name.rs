//! Names, parsed once into types: whoever holds a [`RemoteName`] needs not check it again, and it is safe in a path.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A name outside its grammar.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// Remotes, hosts and assignments.
    #[error(
        "`{0}` is not a name: 1 to 63 characters of a-z, 0-9, `.`, `_` and `-`, with a letter or digit at both ends"
    )]
    Name(String),
    /// Configurations.
    #[error("`{0}` is not a configuration name: 1 to 255 bytes without control characters")]
    Configuration(String),
    /// Fleet ids.
    #[error("`{0}` is not a fleet id: 32 lower-case hexadecimal digits")]
    Fleet(String),
}

fn is_name(text: &str) -> bool {
    let edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let inner = |byte: u8| edge(byte) || matches!(byte, b'.' | b'_' | b'-');
    match text.as_bytes() {
        [] => false,
        [only] => edge(*only),
        bytes @ [first, .., last] => {
            bytes.len() <= 63 && edge(*first) && edge(*last) && bytes.iter().all(|byte| inner(*byte))
        }
    }
}

fn is_configuration(text: &str) -> bool {
    (1..=255).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn is_fleet(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

macro_rules! name_type {
    ($(#[$doc:meta])* $type:ident, $check:ident, $error:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::try_from(text.to_owned())
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                if $check(&text) { Ok(Self(text)) } else { Err(NameError::$error(text)) }
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// A named channel in a store, such as `prod`.
    RemoteName,
    is_name,
    Name
);
name_type!(
    /// A machine's name, unique in the store.
    HostName,
    is_name,
    Name
);
name_type!(
    /// An assignment's name: a host's own, or one that several hosts share.
    AssignmentName,
    is_name,
    Name
);
name_type!(
    /// A rollout's name.
    RolloutName,
    is_name,
    Name
);
name_type!(
    /// An attribute of the flake's `nixosConfigurations`: any Nix attribute name.
    ConfigurationName,
    is_configuration,
    Configuration
);
name_type!(
    /// The random id of everything under one store and one root of trust: 128 bits in hexadecimal.
    FleetId,
    is_fleet,
    Fleet
);

impl FleetId {
    /// The id made of 16 random bytes.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(crate::digest::hex(&bytes))
    }
}

impl ConfigurationName {
    /// The name as a quoted Nix attribute, safe inside an installable: `web-1` becomes `"web-1"`.
    ///
    /// Escapes what the Nix language gives a meaning inside double quotes: `\`, `"` and `${`.
    pub fn quoted(&self) -> String {
        let escaped = self.0.replace('\\', "\\\\").replace('"', "\\\"").replace("${", "\\${");
        format!("\"{escaped}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_grammar() {
        for good in ["a", "prod", "web-1", "a.b_c-d", "0", &"x".repeat(63)] {
            assert!(good.parse::<RemoteName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", ".a", "A", "a/b", "a b", "ä", "..", &"x".repeat(64)] {
            assert!(bad.parse::<RemoteName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_configuration_is_quoted_for_nix() {
        let name: ConfigurationName = r#"we"ird\${x}"#.parse().expect("a legal attribute name");
        assert_eq!(name.quoted(), r#""we\"ird\\\${x}""#);
    }

    #[test]
    fn a_name_in_a_document_is_parsed_not_trusted() {
        assert!(serde_json::from_str::<HostName>("\"../evil\"").is_err());
    }
}
