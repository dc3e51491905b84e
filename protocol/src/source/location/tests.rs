//! Which addresses are taken.

use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn git(text: &str) -> Result<Location, LocationError> {
    Location::parse(text, Schemes::Git, false)
}

#[rstest]
#[case("https://example.com/acme/web.git", "https://example.com/acme/web.git")]
#[case("HTTPS://Example.COM:8443/a", "https://example.com:8443/a")]
#[case("ssh://git@example.com/a.git", "ssh://git@example.com/a.git")]
#[case("git@example.com:acme/web.git", "ssh://git@example.com/acme/web.git")]
#[case("http://[::1]:3000/a", "http://[::1]:3000/a")]
#[case("https://example.com/a?token=hidden", "https://example.com/a")]
fn addresses_that_are_taken(#[case] text: &str, #[case] shown: &str) {
    assert_eq!(git(text).expect("an address").to_string(), shown);
}

#[rstest]
#[case("", LocationError::Empty)]
#[case("--upload-pack=touch /tmp/x", LocationError::Dash)]
#[case("-x:y", LocationError::Dash)]
#[case("ext::sh -c id", LocationError::Character)]
#[case("ext::id", LocationError::Transport("ext::".into()))]
#[case("fd::3", LocationError::Transport("fd::".into()))]
#[case("file::/etc", LocationError::Transport("file::".into()))]
#[case("git://example.com/a", LocationError::Transport("git".into()))]
#[case("ftp://example.com/a", LocationError::Transport("ftp".into()))]
#[case("https://user:password@example.com/a", LocationError::UserInfo)]
#[case("https://token@example.com/a", LocationError::UserInfo)]
#[case("ssh://git:password@example.com/a", LocationError::UserInfo)]
#[case("ssh://-oProxyCommand=id/a", LocationError::Host)]
#[case("ssh://git@-oProxyCommand=id/a", LocationError::Host)]
#[case("ssh://-o@example.com/a", LocationError::UserInfo)]
#[case("git@-oProxyCommand=id:a", LocationError::Host)]
#[case("https:///etc", LocationError::Host)]
#[case("https://a:99999/b", LocationError::Host)]
#[case("https://[::1/b", LocationError::Host)]
#[case("https://exa\nmple.com/", LocationError::Character)]
#[case("https://a\\b/", LocationError::Character)]
#[case("/srv/git/web.git", LocationError::Local)]
#[case("file:///srv/git/web.git", LocationError::Local)]
#[case("../web.git", LocationError::Local)]
fn addresses_that_are_refused(#[case] text: &str, #[case] error: LocationError) {
    assert_eq!(git(text), Err(error));
}

#[test]
fn paths_are_taken_where_they_are_allowed() {
    let parse = |text| Location::parse(text, Schemes::Git, true);
    assert_eq!(parse("/srv/a"), Ok(Location::Local("/srv/a".into())));
    assert_eq!(parse("file:///srv/a"), Ok(Location::Local("/srv/a".into())));
    assert_eq!(parse("srv/a"), Err(LocationError::Relative));
    assert_eq!(parse("ext::id"), Err(LocationError::Transport("ext::".into())));
}

#[rstest]
#[case("https://example.com/acme/web.git", "../lib.git", Ok("https://example.com/acme/lib.git"))]
#[case("https://example.com/acme/web.git", "./lib", Ok("https://example.com/acme/web.git/lib"))]
#[case("https://example.com/acme/web.git", "https://other.com/lib", Ok("https://other.com/lib"))]
#[case("https://example.com/acme/web.git", "../../../etc", Err(LocationError::Host))]
#[case("https://example.com/acme/web.git", "/etc", Err(LocationError::Local))]
#[case("https://example.com/acme/web.git", "file:///etc", Err(LocationError::Local))]
#[case("https://example.com/acme/web.git", "ext::id", Err(LocationError::Transport("ext::".into())))]
#[case("https://example.com/acme/web.git", "--upload-pack=id", Err(LocationError::Dash))]
fn addresses_of_submodules(
    #[case] base: &str,
    #[case] text: &str,
    #[case] expected: Result<&str, LocationError>,
) {
    let resolved = git(base).expect("an address").resolve(text, Schemes::Git);
    assert_eq!(resolved.map(|location| location.to_string()), expected.map(str::to_owned));
}

#[test]
fn credentials_are_for_one_host() {
    let at = |text| git(text).expect("an address");
    assert!(at("https://a.com/x").same_host(&at("https://A.com/y")));
    for other in ["https://b.com/x", "http://a.com/x", "https://a.com:444/x", "ssh://a.com/x"] {
        assert!(!at("https://a.com/x").same_host(&at(other)), "{other}");
    }
}

proptest! {
    /// Whatever is taken begins with one of our schemes, so that no tool takes it for an option or a program.
    #[test]
    fn what_is_taken_is_harmless(text in "[-a-z:/.@+ \\[\\]?~%]{0,24}|(https|ssh|ext|file|-|git@)[-a-z:/.@]{0,24}") {
        for schemes in [Schemes::Git, Schemes::Mercurial, Schemes::Subversion, Schemes::Archive] {
            if let Ok(location) = Location::parse(&text, schemes, false) {
                let url = location.url();
                let (scheme, rest) = url.split_once("://").expect("a scheme");
                prop_assert!(schemes.names().contains(&scheme), "{url}");
                let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
                prop_assert!(!authority.starts_with('-') && !authority.contains("@-"), "{url}");
                // It means the same when it is read again.
                prop_assert_eq!(Location::parse(&url, schemes, false), Ok(location));
            }
        }
    }
}
