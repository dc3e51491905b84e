//! Where a job's way out is: a bridge on which containers cannot reach one another.
//!
//! Making a bridge costs about 125 ms and removing it 200, as much as starting the container. So a bridge that
//! is there already is preferred: the engine's default one where it runs with `--icc=false`, then one that an
//! operator made under the name [`PREPARED`]. Else each owner gets one of its own, which `release` removes.

use std::collections::HashMap;

use bollard::models::{Network, NetworkCreateRequest};
use bollard::query_parameters::ListNetworksOptionsBuilder;
use reactorcide_engine::provider::{ContainerSpec, NetworkMode, Owner, ProviderError};

use super::errors::{is_missing, status_of, text_of};
use super::{DockerProvider, OWNER_LABEL};

/// A network of this name, with communication between containers disabled, is used and never removed.
pub const PREPARED: &str = "reactorcide";

const DEFAULT: &str = "bridge";
const ICC: &str = "com.docker.network.bridge.enable_icc";

impl DockerProvider {
    /// The network mode of a container; makes the owner's network where one is needed.
    pub(super) async fn network_for(&self, spec: &ContainerSpec) -> Result<String, ProviderError> {
        if spec.network == NetworkMode::None {
            return Ok("none".to_owned());
        }
        let mut known = self.network.lock().await;
        if let Some((owner, id)) = &*known
            && *owner == spec.owner
        {
            return Ok(id.clone());
        }
        let id = self.find_or_make(&spec.owner).await?;
        *known = Some((spec.owner.clone(), id.clone()));
        Ok(id)
    }

    /// Removes the owner's networks, as far as no container is left on them.
    pub(super) async fn remove_network(&self, owner: &Owner) -> Result<(), ProviderError> {
        let mut known = self.network.lock().await;
        if known.as_ref().is_some_and(|(of, id)| of == owner && (id == DEFAULT || id == PREPARED)) {
            *known = None;
            return Ok(());
        }
        let docker = self.docker().await?;
        for network in self.networks(owner).await?.into_iter().filter(|network| is_of(network, owner)) {
            let id = network.id.unwrap_or_default();
            match docker.remove_network(&id).await {
                Ok(()) => {}
                Err(error) if is_missing(&error) => {}
                // A container is on it still; whoever removes that one releases again.
                Err(error) if text_of(&error).contains("active endpoints") => return Ok(()),
                Err(error) => return Err(self.subject("removing the network", &owner.0).error(error)),
            }
        }
        *known = None;
        Ok(())
    }

    async fn find_or_make(&self, owner: &Owner) -> Result<String, ProviderError> {
        let networks = self.networks(owner).await?;
        if let Some(id) = choose(&networks, owner) {
            return Ok(id);
        }
        let request = NetworkCreateRequest {
            name: name_of(owner),
            driver: Some("bridge".to_owned()),
            options: Some([(ICC.to_owned(), "false".to_owned())].into()),
            labels: Some([(OWNER_LABEL.to_owned(), owner.0.clone())].into()),
            ..Default::default()
        };
        match self.docker().await?.create_network(request).await {
            Ok(created) => Ok(created.id),
            Err(error) if status_of(&error) == Some(409) => {
                let made_meanwhile = choose(&self.networks(owner).await?, owner);
                made_meanwhile.ok_or_else(|| self.subject("creating the network", &owner.0).error(error))
            }
            Err(error) if text_of(&error).contains("address pool") => Err(ProviderError::Engine {
                operation: "creating the network",
                reason: format!(
                    "the engine has no free subnet left; remove unused networks (docker network prune), run fewer \
                     at once, or make one that all share: docker network create --opt {ICC}=false {PREPARED}"
                ),
            }),
            Err(error) => Err(self.subject("creating the network", &owner.0).error(error)),
        }
    }

    /// Every network that could serve this owner, and maybe others: the engine's filter matches parts of names.
    async fn networks(&self, owner: &Owner) -> Result<Vec<Network>, ProviderError> {
        let names = vec![DEFAULT.to_owned(), PREPARED.to_owned(), name_of(owner)];
        let filters =
            HashMap::from([("name".to_owned(), names), ("driver".to_owned(), vec!["bridge".to_owned()])]);
        let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
        let listed = self.docker().await?.list_networks(Some(options)).await;
        listed.map_err(|error| self.subject("listing the networks", &owner.0).error(error))
    }
}

/// The network to use, if there is one.
fn choose(networks: &[Network], owner: &Owner) -> Option<String> {
    let named = |name: &str| networks.iter().find(|network| network.name.as_deref() == Some(name));
    if named(DEFAULT).is_some_and(isolates) {
        return Some(DEFAULT.to_owned());
    }
    if named(PREPARED).is_some_and(isolates) {
        return Some(PREPARED.to_owned());
    }
    networks
        .iter()
        .find(|network| is_of(network, owner) && isolates(network))
        .and_then(|network| network.id.clone())
}

fn isolates(network: &Network) -> bool {
    network.options.as_ref().is_some_and(|options| options.get(ICC).is_some_and(|icc| icc == "false"))
}

fn is_of(network: &Network, owner: &Owner) -> bool {
    network.labels.as_ref().is_some_and(|labels| labels.get(OWNER_LABEL) == Some(&owner.0))
}

fn name_of(owner: &Owner) -> String {
    let safe =
        |letter: char| if letter.is_ascii_alphanumeric() || "_.-".contains(letter) { letter } else { '-' };
    format!("{PREPARED}-{}", owner.0.chars().map(safe).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(name: &str, icc: &str, owner: Option<&str>) -> Network {
        Network {
            name: Some(name.to_owned()),
            id: Some(format!("id-{name}")),
            options: Some([(ICC.to_owned(), icc.to_owned())].into()),
            labels: owner.map(|owner| [(OWNER_LABEL.to_owned(), owner.to_owned())].into()),
            ..Default::default()
        }
    }

    #[test]
    fn a_network_that_isolates_and_is_there_is_preferred() {
        let me = Owner("me".to_owned());
        let open = network(DEFAULT, "true", None);
        let own = network("reactorcide-me", "false", Some("me"));
        let other = network("reactorcide-me2", "false", Some("me2"));
        assert_eq!(choose(&[open.clone(), other.clone()], &me), None);
        assert_eq!(choose(&[open.clone(), other, own.clone()], &me).as_deref(), Some("id-reactorcide-me"));
        let prepared = network(PREPARED, "false", None);
        assert_eq!(choose(&[open, own, prepared.clone()], &me).as_deref(), Some(PREPARED));
        assert_eq!(choose(&[network(DEFAULT, "false", None), prepared], &me).as_deref(), Some(DEFAULT));
    }

    #[test]
    fn a_prepared_network_that_does_not_isolate_is_not_used() {
        assert_eq!(choose(&[network(PREPARED, "true", None)], &Owner("me".to_owned())), None);
    }
}
