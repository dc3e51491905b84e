//! Which environment variables carry secrets, by their names.

/// Words in a variable's name that say that its value is secret.
const WORDS: [&str; 17] = [
    "KEY",
    "KEYS",
    "TOKEN",
    "TOKENS",
    "PASSWORD",
    "PASSWORDS",
    "PASSWD",
    "PASSPHRASE",
    "PASS",
    "PWD",
    "SECRET",
    "SECRETS",
    "CREDENTIAL",
    "CREDENTIALS",
    "PAT",
    "APIKEY",
    "AUTH",
];

/// Endings that say so in names that are not divided into words.
const ENDINGS: [&str; 5] = ["PASSWORD", "TOKEN", "SECRET", "APIKEY", "PASSPHRASE"];

/// Names that sound secret and are not.
const INNOCENT: [&str; 3] = ["PWD", "OLDPWD", "SSH_AUTH_SOCK"];

/// Values that hide nothing and whose masking would make a log unreadable.
const TRIVIAL: [&str; 12] = [
    "true", "false", "none", "null", "default", "enabled", "disabled", "auto", "yes", "test", "plain",
    "basic",
];

/// Whether the name of a variable says that its value is secret: `API_KEY`, `GITHUB_TOKEN`, `dbPassword`.
pub fn says_secret(name: &str) -> bool {
    if INNOCENT.contains(&name) {
        return false;
    }
    let upper = name.to_ascii_uppercase();
    upper.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| WORDS.contains(&word))
        || ENDINGS.iter().any(|ending| upper.ends_with(ending))
}

/// Whether a value of such a variable can and should be masked.
pub fn is_worth_masking(value: &str) -> bool {
    let trivial = TRIVIAL.contains(&value.trim().to_ascii_lowercase().as_str());
    super::check(value.as_bytes()).is_ok() && !trivial
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_say_secret() {
        for name in [
            "API_KEY",
            "GITHUB_TOKEN",
            "DB_PASSWORD",
            "dbPassword",
            "MYSECRET",
            "aws_secret_access_key",
            "PGPASSWORD",
            "NPM-TOKEN",
        ] {
            assert!(says_secret(name), "{name}");
        }
        for name in [
            "PATH",
            "KEYBOARD",
            "MONKEY_BUSINESS",
            "TOKENIZER",
            "PWD",
            "PASSENGER",
            "SSH_AUTH_SOCK",
            "AUTHOR",
            "COMPASS",
        ] {
            assert!(!says_secret(name), "{name}");
        }
    }

    #[test]
    fn values_that_hide_nothing() {
        for value in ["", "abc", "true", "FALSE ", "none"] {
            assert!(!is_worth_masking(value), "{value:?}");
        }
        assert!(is_worth_masking("hunter2!"));
    }
}
