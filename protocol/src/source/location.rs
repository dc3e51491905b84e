//! Addresses of code: which are taken, and how they are shown. Functions on values.

use std::fmt;
use std::path::{Path, PathBuf};

/// What an address may be for a kind of source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schemes {
    /// git: http(s), ssh, and `user@host:path`.
    Git,
    /// Mercurial: http(s) and ssh.
    Mercurial,
    /// Subversion: http(s), svn and svn+ssh.
    Subversion,
    /// Archives: http(s).
    Archive,
}

impl Schemes {
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Git | Self::Mercurial => &["https", "http", "ssh"],
            Self::Subversion => &["https", "http", "svn", "svn+ssh"],
            Self::Archive => &["https", "http"],
        }
    }
}

/// Where code is, after it was looked at: nothing in it can be taken for an option or start a program.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Location {
    /// On another machine.
    Remote {
        /// In lower case.
        scheme: String,
        /// With its port, where it says one.
        host: String,
        /// The whole address, without anybody's password.
        url: String,
    },
    /// On this machine.
    Local(PathBuf),
}

/// Why an address is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// Nothing is there.
    #[error("the address is empty")]
    Empty,
    /// It would be read as an option of a tool.
    #[error("the address begins with a dash")]
    Dash,
    /// It has what no address has.
    #[error("the address holds a control character, a blank or a backslash")]
    Character,
    /// A transport that runs programs, or that this kind of source does not know.
    #[error("the transport {0:?} is not allowed")]
    Transport(String),
    /// A name and a password in an address end up in logs and in `.git/config`.
    #[error("the address carries a user's name or password")]
    UserInfo,
    /// There is no host, or it is none.
    #[error("the host in the address is none")]
    Host,
    /// A path of this machine, which is not allowed here.
    #[error("the address is a path of this machine")]
    Local,
    /// A path that depends on where we happen to be.
    #[error("the path is not absolute")]
    Relative,
}

impl LocationError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Empty | Self::Dash | Self::Character | Self::Host => {
                "write it as https://HOST/PATH or ssh://git@HOST/PATH"
            }
            Self::Transport(_) => "use https or ssh",
            Self::UserInfo => "put them into a Secret and name it in `credentials`",
            Self::Local => "only a local run takes paths of its machine",
            Self::Relative => "write the whole path",
        }
    }
}

impl Location {
    /// Looks at an address. Paths of this machine are taken only where they are allowed.
    pub fn parse(text: &str, schemes: Schemes, allow_local: bool) -> Result<Self, LocationError> {
        if text.is_empty() {
            return Err(LocationError::Empty);
        }
        if text.starts_with('-') {
            return Err(LocationError::Dash);
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            return Err(LocationError::Character);
        }
        // `ext::command` and every other `helper::address` starts a program.
        if let Some((helper, _)) = text.split_once("::")
            && helper.chars().all(|c| c.is_ascii_alphanumeric() || "+-._".contains(c))
        {
            return Err(LocationError::Transport(format!("{helper}::")));
        }
        match text.split_once("://") {
            Some((scheme, rest)) => {
                Self::with_scheme(&scheme.to_ascii_lowercase(), rest, schemes, allow_local)
            }
            None if text.starts_with('/') => local(text, allow_local),
            None => match text.split_once(':') {
                Some((host, path)) if schemes == Schemes::Git && !host.contains('/') => {
                    Self::short(host, path)
                }
                _ if allow_local => Err(LocationError::Relative),
                _ => Err(LocationError::Local),
            },
        }
    }

    fn with_scheme(
        scheme: &str,
        rest: &str,
        schemes: Schemes,
        allow_local: bool,
    ) -> Result<Self, LocationError> {
        if scheme == "file" {
            return local(rest.strip_prefix("localhost").unwrap_or(rest), allow_local);
        }
        if !schemes.names().contains(&scheme) {
            return Err(LocationError::Transport(scheme.to_owned()));
        }
        let (authority, path) = match rest.find(['/', '?', '#']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        if let Some(user) = user {
            let is_ssh = matches!(scheme, "ssh" | "svn+ssh");
            if !is_ssh || !is_user(user) {
                return Err(LocationError::UserInfo);
            }
        }
        if !is_host(host) {
            return Err(LocationError::Host);
        }
        let host = host.to_ascii_lowercase();
        let user = user.map(|user| format!("{user}@")).unwrap_or_default();
        let url = format!("{scheme}://{user}{host}{path}");
        Ok(Self::Remote { scheme: scheme.to_owned(), host, url })
    }

    /// `user@host:path`, the short form of ssh.
    fn short(authority: &str, path: &str) -> Result<Self, LocationError> {
        let (user, host) = match authority.split_once('@') {
            Some((user, host)) => (user, host),
            None => ("git", authority),
        };
        if !is_user(user) {
            return Err(LocationError::UserInfo);
        }
        if !is_host(host) || host.contains(':') {
            return Err(LocationError::Host);
        }
        let host = host.to_ascii_lowercase();
        // Forges do not tell a path from the root and one from the user's home apart.
        let url = format!("ssh://{user}@{host}/{}", path.trim_start_matches('/'));
        Ok(Self::Remote { scheme: "ssh".to_owned(), host, url })
    }

    /// What a tool is given.
    pub fn url(&self) -> String {
        match self {
            Self::Remote { url, .. } => url.clone(),
            Self::Local(path) => format!("file://{}", path.display()),
        }
    }

    /// An address that stands in this one's repository: `../other.git` is beside it, anything else stands alone.
    pub fn resolve(&self, text: &str, schemes: Schemes) -> Result<Self, LocationError> {
        let allow_local = matches!(self, Self::Local(_));
        if !text.starts_with("./") && !text.starts_with("../") {
            return Self::parse(text, schemes, allow_local);
        }
        let whole = self.url();
        let (root, path) = match self {
            Self::Local(_) => ("file://".to_owned(), whole.strip_prefix("file://").unwrap_or_default()),
            Self::Remote { scheme, .. } => {
                let rest = whole.split_once("://").map_or("", |(_, rest)| rest);
                let at = rest.find('/').unwrap_or(rest.len());
                (format!("{scheme}://{}", &rest[..at]), &rest[at..])
            }
        };
        let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        for part in text.split('/') {
            match part {
                "" | "." => {}
                // Above the root there is nothing.
                ".." => drop(parts.pop().ok_or(LocationError::Host)?),
                part => parts.push(part),
            }
        }
        Self::parse(&format!("{root}/{}", parts.join("/")), schemes, allow_local)
    }

    /// Whether both are on one machine and are reached in one way, so that one's credentials are the other's.
    pub fn same_host(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Local(_), Self::Local(_)) => true,
            (Self::Remote { scheme: a, host: x, .. }, Self::Remote { scheme: b, host: y, .. }) => {
                a == b && x == y
            }
            _ => false,
        }
    }
}

fn local(path: &str, allowed: bool) -> Result<Location, LocationError> {
    if !allowed {
        return Err(LocationError::Local);
    }
    if !path.starts_with('/') {
        return Err(LocationError::Relative);
    }
    Ok(Location::Local(Path::new(path).to_owned()))
}

fn is_user(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// A name, an IPv4 address, or an IPv6 address in brackets; perhaps with a port.
fn is_host(text: &str) -> bool {
    let is_port = |text: &str| text.parse::<u16>().is_ok_and(|port| port > 0);
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(address, port)| {
            let is_address = address.parse::<std::net::Ipv6Addr>().is_ok();
            is_address && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
        });
    }
    let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
    !name.is_empty()
        && !name.starts_with(['-', '.'])
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
        && port.is_none_or(is_port)
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // What follows `?` may be a token.
            Self::Remote { url, .. } => f.write_str(url.split(['?', '#']).next().unwrap_or_default()),
            Self::Local(path) => write!(f, "{}", path.display()),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests;
