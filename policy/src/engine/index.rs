//! Which rules of a gate speak of this class?
//!
//! Owns, for one gate, its rules by the selectors of their peers, and its blocks: for a look at a
//! few classes that changed, where walking all rules would be most of the work.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::lines::Lines;
use super::places::covers;
use super::selectors::SelectorId;
use super::trail::Place;
use crate::Cidr;
use crate::model::{Peer, Peers};

/// The rules of one gate, but those for everybody.
#[derive(Debug, Default)]
pub(super) struct Index {
    by_selector: HashMap<SelectorId, Vec<Place>, FixedState>,
    blocks: Vec<Block>,
}

#[derive(Debug)]
struct Block {
    place: Place,
    cidr: Cidr,
    except: Vec<Cidr>,
}

impl Index {
    pub(super) fn new(lines: &Lines<'_>) -> Self {
        let mut index = Self::default();
        for (place, line) in lines.iter() {
            let Peers::Of(peers) = &line.rule.peers else {
                continue;
            };
            for &selector in line.selectors {
                index.by_selector.entry(selector).or_default().push(place);
            }
            for peer in peers {
                if let Peer::Block { cidr, except } = peer {
                    index.blocks.push(Block {
                        place,
                        cidr: *cidr,
                        except: except.clone(),
                    });
                }
            }
        }
        index
    }

    /// The rules that match a peer whose identity these select, in this longest block, in their
    /// order.
    pub(super) fn find(&self, selectors: &[SelectorId], block: Option<Cidr>) -> Vec<Place> {
        let mut places = Vec::new();
        // The shorter list is walked, the other searched.
        if selectors.len() < self.by_selector.len() {
            let found = selectors.iter().filter_map(|id| self.by_selector.get(id));
            places.extend(found.flatten());
        } else {
            let rules = self.by_selector.iter();
            let found = rules.filter(|(id, _)| selectors.binary_search(id).is_ok());
            places.extend(found.flat_map(|(_, places)| places));
        }
        if let Some(inner) = block {
            let around = self.blocks.iter().filter(|block| {
                covers(block.cidr, inner) && !block.except.iter().any(|hole| covers(*hole, inner))
            });
            places.extend(around.map(|block| block.place));
        }
        places.sort_unstable();
        places.dedup();
        places
    }
}
