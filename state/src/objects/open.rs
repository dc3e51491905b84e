//! Opening a storage by its URL, with credentials from the environment.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::ClientConfigKey;
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectStore, RetryConfig};

use super::Storage;

/// Why a storage cannot be opened. None of it holds credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The URL is of no storage that we know.
    #[error(
        "{0:?} is no storage: write a directory, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"
    )]
    Scheme(String),
    /// It holds a user or password.
    #[error("the URL of a storage ({0}://…) holds no credentials: they come from the environment")]
    Credentials(String),
    /// It cannot be used as it is.
    #[error("{location} is no storage: {what}")]
    Url {
        /// The URL, without its parameters.
        location: String,
        /// What is wrong with it.
        what: String,
    },
    /// The directory cannot be made or used.
    #[error("{location} cannot be used as a storage: {what}")]
    Directory {
        /// The directory.
        location: String,
        /// What stands in the way.
        what: String,
    },
    /// The settings in the URL and the environment do not do.
    #[error("{location} cannot be used as a storage: {what}")]
    Settings {
        /// The URL, without its parameters.
        location: String,
        /// What is wrong.
        what: String,
    },
}

impl Storage {
    /// Opens a storage: `file:///DIRECTORY` or a path, which is made where it is not there; `s3://BUCKET/PREFIX`,
    /// `gs://BUCKET/PREFIX`, `az://CONTAINER/PREFIX`. Nothing is asked of a bucket yet, see [`Storage::check`].
    ///
    /// Credentials come from the environment by the names that the storages' own tools use: `AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL` and so on; `GOOGLE_…`, `AZURE_…`.
    /// A URL may have the parameters `endpoint`, `region` and `allow_http=true`; without the last, or
    /// `AWS_ALLOW_HTTP=true`, nothing goes over a connection that is not encrypted.
    pub fn open(url: &str) -> Result<Self, OpenError> {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::open_with(url, environment)
    }

    /// As [`Storage::open`], with an environment that is given.
    pub fn open_with(
        url: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, OpenError> {
        let Some((scheme, rest)) = url.split_once("://") else { return directory(Path::new(url)) };
        if scheme == "file" {
            return match rest.strip_prefix("localhost").unwrap_or(rest) {
                path if path.starts_with('/') && !path.contains(['?', '#', '%']) => {
                    directory(Path::new(path))
                }
                _ => Err(OpenError::Url {
                    location: format!("file://{rest}"),
                    what: "write file:///DIRECTORY, or the path alone".to_owned(),
                }),
            };
        }
        let bucket = Bucket::parse(scheme, rest)?;
        let store = match scheme {
            "s3" => bucket.s3(environment),
            "gs" => bucket.google(environment),
            "az" => bucket.azure(environment),
            _ => return Err(OpenError::Scheme(scheme.to_owned())),
        }?;
        let prefix = object_store::path::Path::parse(&bucket.prefix).map_err(|error| bucket.url(error))?;
        let store: Arc<dyn ObjectStore> =
            if bucket.prefix.is_empty() { store } else { Arc::new(PrefixStore::new(store, prefix)) };
        Ok(Self { durable: store.clone(), store, location: bucket.location.into(), root: None })
    }
}

fn directory(path: &Path) -> Result<Storage, OpenError> {
    let failed = |error: &dyn Display| OpenError::Directory {
        location: path.display().to_string(),
        what: error.to_string(),
    };
    if path.as_os_str().is_empty() {
        return Err(OpenError::Scheme(String::new()));
    }
    std::fs::create_dir_all(path).map_err(|error| failed(&error))?;
    let root: PathBuf = path.canonicalize().map_err(|error| failed(&error))?;
    let store = LocalFileSystem::new_with_prefix(&root).map_err(|error| failed(&error))?;
    let location = root.display().to_string().into();
    let durable = Arc::new(store.clone().with_fsync(true));
    Ok(Storage { store: Arc::new(store), durable, location, root: Some(Arc::new(root)) })
}

/// A URL in its parts.
struct Bucket {
    location: String,
    name: String,
    prefix: String,
    endpoint: Option<String>,
    region: Option<String>,
    allow_http: Option<String>,
}

impl Bucket {
    fn parse(scheme: &str, rest: &str) -> Result<Self, OpenError> {
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        if place.contains('@') {
            return Err(OpenError::Credentials(scheme.to_owned()));
        }
        let (name, prefix) = place.split_once('/').unwrap_or((place, ""));
        let mut bucket = Self {
            location: format!("{scheme}://{place}"),
            name: name.to_owned(),
            prefix: prefix.trim_end_matches('/').to_owned(),
            endpoint: None,
            region: None,
            allow_http: None,
        };
        if name.is_empty() || place.contains('#') {
            return Err(bucket.url("it names no bucket"));
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, "true"));
            let value = Some(value.to_owned());
            match key {
                "endpoint" => bucket.endpoint = value,
                "region" => bucket.region = value,
                "allow_http" => bucket.allow_http = value,
                _ => {
                    let known = "its parameters are endpoint, region and allow_http";
                    return Err(bucket.url(format_args!("{known}, not {key:?}")));
                }
            }
        }
        Ok(bucket)
    }

    fn url(&self, what: impl Display) -> OpenError {
        OpenError::Url { location: self.location.clone(), what: what.to_string() }
    }

    /// A store that the crate made; or what it says is wrong, which names settings and not their values, apart from what
    /// may be no secret.
    fn made<S: ObjectStore>(&self, made: object_store::Result<S>) -> Result<Arc<dyn ObjectStore>, OpenError> {
        let failed = |error: object_store::Error| OpenError::Settings {
            location: self.location.clone(),
            what: error.to_string(),
        };
        Ok(Arc::new(made.map_err(failed)?))
    }

    fn s3(
        &self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Arc<dyn ObjectStore>, OpenError> {
        let mut builder = AmazonS3Builder::new().with_retry(retries()).with_client_options(client());
        for (key, value) in settings::<AmazonS3ConfigKey>(environment, "AWS_") {
            builder = builder.with_config(key, value);
        }
        for (key, value) in [
            (AmazonS3ConfigKey::Endpoint, &self.endpoint),
            (AmazonS3ConfigKey::Region, &self.region),
            (AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp), &self.allow_http),
            (AmazonS3ConfigKey::Bucket, &Some(self.name.clone())),
        ] {
            if let Some(value) = value {
                builder = builder.with_config(key, value);
            }
        }
        self.made(builder.build())
    }

    fn google(
        &self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Arc<dyn ObjectStore>, OpenError> {
        let mut builder =
            GoogleCloudStorageBuilder::new().with_retry(retries()).with_client_options(client());
        for (key, value) in settings::<GoogleConfigKey>(environment, "GOOGLE_") {
            builder = builder.with_config(key, value);
        }
        for (key, value) in [
            (GoogleConfigKey::BaseUrl, &self.endpoint),
            (GoogleConfigKey::Client(ClientConfigKey::AllowHttp), &self.allow_http),
            (GoogleConfigKey::Bucket, &Some(self.name.clone())),
        ] {
            if let Some(value) = value {
                builder = builder.with_config(key, value);
            }
        }
        self.made(builder.build())
    }

    fn azure(
        &self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Arc<dyn ObjectStore>, OpenError> {
        let mut builder = MicrosoftAzureBuilder::new().with_retry(retries()).with_client_options(client());
        for (key, value) in settings::<AzureConfigKey>(environment, "AZURE_") {
            builder = builder.with_config(key, value);
        }
        for (key, value) in [
            (AzureConfigKey::Endpoint, &self.endpoint),
            (AzureConfigKey::Client(ClientConfigKey::AllowHttp), &self.allow_http),
            (AzureConfigKey::ContainerName, &Some(self.name.clone())),
        ] {
            if let Some(value) = value {
                builder = builder.with_config(key, value);
            }
        }
        self.made(builder.build())
    }
}

/// What an environment says to a storage of one kind. A name that its crate does not know is another program's.
fn settings<K: FromStr>(
    environment: impl IntoIterator<Item = (String, String)>,
    prefix: &str,
) -> impl Iterator<Item = (K, String)> {
    environment.into_iter().filter_map(move |(name, value)| {
        (name.starts_with(prefix) && !value.is_empty())
            .then(|| name.to_ascii_lowercase().parse().ok().map(|key| (key, value)))
            .flatten()
    })
}

/// Who waits has a spool and comes again: a request is not tried for long.
fn retries() -> RetryConfig {
    RetryConfig { max_retries: 3, retry_timeout: Duration::from_secs(20), ..RetryConfig::default() }
}

fn client() -> ClientOptions {
    ClientOptions::new().with_connect_timeout(Duration::from_secs(5)).with_timeout(Duration::from_secs(30))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> String {
        Storage::open_with(url, []).err().expect("it is refused").to_string()
    }

    #[test]
    fn a_path_is_a_directory_that_is_made() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().canonicalize().expect("a path").join("a b/c");
        let path = path.to_str().expect("UTF-8");
        for url in [path.to_owned(), format!("file://{path}")] {
            let storage = Storage::open_with(&url, []).expect("a storage");
            assert_eq!((storage.location(), storage.is_directory()), (path, true));
        }
        let file = directory.path().join("file");
        std::fs::write(&file, "").expect("a file");
        let said = refusal(&file.display().to_string());
        assert!(said.starts_with(&format!("{} cannot be used as a storage", file.display())), "{said}");
    }

    #[test]
    fn what_is_no_storage_is_refused_without_its_secrets() {
        for (url, expected) in [
            ("ftp://host/x", "\"ftp\" is no storage"),
            ("s3://", "names no bucket"),
            ("s3://key:s3cret@bucket/x", "holds no credentials"),
            ("s3://bucket/a//b", "s3://bucket/a//b is no storage"),
            ("s3://bucket?secret_access_key=s3cret", "not \"secret_access_key\""),
            ("file://relative", "write file:///DIRECTORY"),
            ("", "is no storage"),
        ] {
            let said = refusal(url);
            assert!(said.contains(expected) && !said.contains("s3cret"), "{url}: {said}");
        }
    }

    #[test]
    fn buckets_take_their_settings_from_the_environment() {
        let environment =
            [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "s3cret"), ("AWS_REGION", "eu")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let storage =
            Storage::open_with("s3://bucket/ci/?allow_http=true&endpoint=http://[::1]:9", environment)
                .expect("a storage");
        assert_eq!((storage.location(), storage.is_directory()), ("s3://bucket/ci/", false));
        let azure = [("AZURE_STORAGE_ACCOUNT_NAME", "a"), ("AZURE_STORAGE_ACCOUNT_KEY", "s3cret")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let said =
            Storage::open_with("az://container/ci", azure).map(|_| ()).expect_err("the key is no base64");
        assert!(!said.to_string().contains("s3cret"), "{said}");
    }
}
