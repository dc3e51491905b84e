//! The names of settings.

/// A setting.
#[derive(Debug)]
pub struct Key {
    /// Its name, as in job files; upper case after `REACTORCIDE_`, and with dashes after `--`.
    pub name: &'static str,
    /// Other names for the same.
    pub aliases: &'static [&'static str],
    /// What it is where nobody says.
    pub default: Option<&'static str>,
    /// What it is, for `--help`.
    pub help: &'static str,
}

impl Key {
    /// All its names.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }
}

const fn plain(name: &'static str, help: &'static str) -> Key {
    Key { name, aliases: &[], default: None, help }
}

/// Every setting that an argument or a variable can give, in the order in which people look at them.
pub const KEYS: &[Key] = &[
    plain("job_command", "What to run: text for a shell"),
    Key {
        name: "image",
        aliases: &["runner_image", "job_image"],
        default: None,
        help: "The image of the container",
    },
    plain("name", "The job's name"),
    Key { name: "job_dir", aliases: &[], default: Some("/job"), help: "The workspace in the container" },
    Key {
        name: "code_dir",
        aliases: &[],
        default: None,
        help: "Where the command starts, below the workspace [default: its src]",
    },
    Key {
        name: "artifacts_dir",
        aliases: &[],
        default: None,
        help: "Where artifacts go [default: artifacts below the workspace]",
    },
    plain("job_env", "Variables, NAME=VALUE,NAME=VALUE, or a file of them below the workspace"),
    plain("source_type", "git, copy, tarball, hg, svn or none"),
    plain("source_url", "Where the code under test is"),
    plain("source_ref", "Its branch, tag or commit"),
    plain("source_checksum", "The checksum of a tarball: sha256:HEX"),
    plain("ci_source_type", "git, copy, tarball, hg, svn or none"),
    plain("ci_source_url", "Where the trusted job code is"),
    plain("ci_source_ref", "Its branch, tag or commit"),
    plain("ci_source_checksum", "The checksum of a tarball: sha256:HEX"),
    Key { name: "git_url", aliases: &[], default: None, help: "The same as --source-type git --source-url" },
    Key { name: "git_ref", aliases: &[], default: None, help: "The same as --source-ref" },
    Key {
        name: "ci_git_url",
        aliases: &[],
        default: None,
        help: "The same as --ci-source-type git --ci-source-url",
    },
    Key { name: "ci_git_ref", aliases: &[], default: None, help: "The same as --ci-source-ref" },
    plain("timeout", "How long it may take: seconds, or 20m"),
];

/// The setting of a name.
pub fn key(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.names().any(|other| other == name))
}
