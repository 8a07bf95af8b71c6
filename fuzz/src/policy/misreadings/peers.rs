//! Misreadings of `from` and `to`.

use std::net::IpAddr;

use weft_policy::Cidr;
use weft_policy::model::{Peer, Peers, Pod, Scope, Selector};
use weft_policy::oracle::{Literal, Reading, View, pod_label};

super::misreadings! {
    NoPeersMatchNobody {
        fn peers_match(&self, view: &View<'_>, peers: &Peers) -> bool {
            match peers {
                Peers::Any => false,
                Peers::Of(_) => Literal.peers_match(view, peers),
            }
        }
    }
    NoPeersMatchPodsOnly {
        fn peers_match(&self, view: &View<'_>, peers: &Peers) -> bool {
            match peers {
                Peers::Any => self.pod_at(view.cluster, view.peer()).is_some(),
                Peers::Of(_) => Literal.peers_match(view, peers),
            }
        }
    }
    AllPeersMustMatch {
        fn peers_match(&self, view: &View<'_>, peers: &Peers) -> bool {
            match peers {
                Peers::Any => true,
                Peers::Of(items) => items.iter().all(|item| self.peer_matches(view, item)),
            }
        }
    }
    TheFirstPeerOnly {
        fn peers_match(&self, view: &View<'_>, peers: &Peers) -> bool {
            match peers {
                Peers::Any => true,
                Peers::Of(items) => self.peer_matches(view, &items[0]),
            }
        }
    }
    CombinedSelectorsAreOred {
        fn pods_match(
            &self,
            view: &View<'_>,
            namespaces: &Scope,
            pods: &Selector,
            peer: &Pod,
        ) -> bool {
            self.scope_matches(view, namespaces, peer)
                || self.selector_matches(pods, &pod_label(peer))
        }
    }
    CombinedSelectorsForgetThePods {
        fn pods_match(
            &self,
            view: &View<'_>,
            namespaces: &Scope,
            _: &Selector,
            peer: &Pod,
        ) -> bool {
            self.scope_matches(view, namespaces, peer)
        }
    }
    CombinedSelectorsForgetTheNamespaces {
        fn pods_match(&self, _: &View<'_>, _: &Scope, pods: &Selector, peer: &Pod) -> bool {
            self.selector_matches(pods, &pod_label(peer))
        }
    }
    PodSelectorAloneIsForAllNamespaces {
        fn scope_matches(&self, view: &View<'_>, scope: &Scope, peer: &Pod) -> bool {
            *scope == Scope::Own || Literal.scope_matches(view, scope, peer)
        }
    }
    NamespaceSelectorAddsTheOwn {
        fn scope_matches(&self, view: &View<'_>, scope: &Scope, peer: &Pod) -> bool {
            Literal.scope_matches(view, &Scope::Own, peer)
                || Literal.scope_matches(view, scope, peer)
        }
    }
    NamespaceSelectorLacksTheOwn {
        fn scope_matches(&self, view: &View<'_>, scope: &Scope, peer: &Pod) -> bool {
            let own = Literal.scope_matches(view, &Scope::Own, peer);
            Literal.scope_matches(view, scope, peer) && (*scope == Scope::Own || !own)
        }
    }
    NamespaceSelectorReadsPodLabels {
        fn scope_matches(&self, view: &View<'_>, scope: &Scope, peer: &Pod) -> bool {
            match scope {
                Scope::Own => Literal.scope_matches(view, scope, peer),
                Scope::Matching(selector) => self.selector_matches(selector, &pod_label(peer)),
            }
        }
    }
    EmptySelectorsMatchAddressesThatAreNoPods {
        fn outsider_matches(&self, _: &View<'_>, namespaces: &Scope, pods: &Selector) -> bool {
            *namespaces == Scope::Matching(Selector::everything())
                && *pods == Selector::everything()
        }
    }
    NegativeSelectorsMatchAddressesThatAreNoPods {
        fn outsider_matches(&self, _: &View<'_>, namespaces: &Scope, pods: &Selector) -> bool {
            let nothing = |_: &str| None;
            match namespaces {
                Scope::Own => false,
                Scope::Matching(selector) => {
                    self.selector_matches(selector, &nothing)
                        && self.selector_matches(pods, &nothing)
                }
            }
        }
    }
    BlocksDoNotCoverPods {
        fn block_matches(&self, view: &View<'_>, cidr: Cidr, except: &[Cidr]) -> bool {
            self.pod_at(view.cluster, view.peer()).is_none()
                && Literal.block_matches(view, cidr, except)
        }
    }
    BlocksCoverPodsOnly {
        fn block_matches(&self, view: &View<'_>, cidr: Cidr, except: &[Cidr]) -> bool {
            self.pod_at(view.cluster, view.peer()).is_some()
                && Literal.block_matches(view, cidr, except)
        }
    }
    ExceptIsIgnored {
        fn block_matches(&self, view: &View<'_>, cidr: Cidr, _: &[Cidr]) -> bool {
            self.block_has(cidr, view.peer())
        }
    }
    ExceptIsItsFirstOnly {
        fn block_matches(&self, view: &View<'_>, cidr: Cidr, except: &[Cidr]) -> bool {
            let first = except.get(..1).unwrap_or_default();
            Literal.block_matches(view, cidr, first)
        }
    }
    ExceptSparesPods {
        fn block_matches(&self, view: &View<'_>, cidr: Cidr, except: &[Cidr]) -> bool {
            let is_pod = self.pod_at(view.cluster, view.peer()).is_some();
            Literal.block_matches(view, cidr, if is_pod { &[] } else { except })
        }
    }
    ExceptDeniesForTheWholeRule {
        fn peers_match(&self, view: &View<'_>, peers: &Peers) -> bool {
            let Peers::Of(items) = peers else { return true };
            let excepted = items.iter().any(|item| match item {
                Peer::Block { except, .. } => {
                    except.iter().any(|hole| self.block_has(*hole, view.peer()))
                }
                Peer::Pods { .. } => false,
            });
            !excepted && Literal.peers_match(view, peers)
        }
    }
    BlocksEndOneEarly {
        fn block_has(&self, cidr: Cidr, address: IpAddr) -> bool {
            let is_last = match address {
                IpAddr::V4(v4) => {
                    let host = u32::MAX.checked_shr(cidr.length().into()).unwrap_or(0);
                    host != 0 && v4.to_bits() & host == host
                }
                IpAddr::V6(_) => false,
            };
            !is_last && Literal.block_has(cidr, address)
        }
    }
    PrefixesAreWholeOctets {
        fn block_has(&self, cidr: Cidr, address: IpAddr) -> bool {
            let length = cidr.length() / 8 * 8;
            let base = weft_policy::cidr::masked(cidr.base(), length);
            Cidr::new(base, length).is_ok_and(|cidr| Literal.block_has(cidr, address))
        }
    }
    MappedAddressesAreIpv4 {
        fn block_has(&self, cidr: Cidr, address: IpAddr) -> bool {
            let mapped = match address {
                IpAddr::V6(v6) => v6.to_ipv4_mapped().map(IpAddr::V4),
                IpAddr::V4(_) => None,
            };
            Literal.block_has(cidr, mapped.unwrap_or(address))
        }
    }
    AllOfIpv4IsAllOfIpv6 {
        fn block_has(&self, cidr: Cidr, address: IpAddr) -> bool {
            cidr.length() == 0 || Literal.block_has(cidr, address)
        }
    }
}
