//! Where symbolic links lead: a tree whose links could be followed out of it is neither packed nor unpacked.
//!
//! Counting `..` in the target is not enough: where `a/up` leads to `..`, the target `a/up/../x` looks as if it stayed
//! inside and does not. So each link is walked through the tree's other links, as the kernel would.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use thiserror::Error;

/// The kernel gives up after 40 links (`path_resolution(7)`); what it would not follow leads nowhere.
const MOST_LINKS: usize = 40;

/// A link that leaves its tree.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the link `{}` leads out of the flake, to `{}`", link.display(), target.display())]
pub struct EscapingLink {
    /// The link, relative to the tree's root.
    pub link: PathBuf,
    /// Where it points.
    pub target: PathBuf,
}

/// Checks every link of a tree, given as link → target. What is not a link, or does not exist, counts as a plain name.
pub(super) fn check(links: &BTreeMap<PathBuf, PathBuf>) -> Result<(), EscapingLink> {
    links.iter().try_for_each(|(link, target)| {
        let parent = link.parent().unwrap_or(Path::new(""));
        if stays_inside(links, parent, target) {
            Ok(())
        } else {
            Err(EscapingLink { link: link.clone(), target: target.clone() })
        }
    })
}

/// Whether a link by itself, other links aside, leads out of its tree.
pub(super) fn leads_out(link: &Path, target: &Path) -> bool {
    !stays_inside(&BTreeMap::new(), link.parent().unwrap_or(Path::new("")), target)
}

fn stays_inside(links: &BTreeMap<PathBuf, PathBuf>, from: &Path, target: &Path) -> bool {
    let mut place = from.to_owned();
    let mut ahead: Vec<PathBuf> = vec![target.to_owned()];
    let mut followed = 0;
    while let Some(path) = ahead.pop() {
        let mut components = path.components();
        let Some(component) = components.next() else { continue };
        ahead.push(components.as_path().to_owned());
        match component {
            Component::RootDir | Component::Prefix(_) => return false,
            Component::CurDir => {}
            Component::ParentDir => {
                if !place.pop() {
                    return false;
                }
            }
            Component::Normal(name) => {
                place.push(name);
                if let Some(next) = links.get(&place) {
                    followed += 1;
                    if followed > MOST_LINKS {
                        return true;
                    }
                    place.pop();
                    ahead.push(next.clone());
                }
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_links(links: &[(&str, &str)]) -> Result<(), EscapingLink> {
        check(&links.iter().map(|(link, target)| (PathBuf::from(link), PathBuf::from(target))).collect())
    }

    #[test]
    fn links_inside_are_kept_even_when_they_dangle_or_loop() {
        assert_eq!(check_links(&[("a/b", "../c"), ("d", "nowhere"), ("e", "e"), ("f", "./a/../g")]), Ok(()));
    }

    #[test]
    fn links_out_of_the_tree_are_found() {
        for target in ["/etc/passwd", "..", "../x", "a/../../x"] {
            assert!(check_links(&[("link", target)]).is_err(), "{target}");
        }
        assert!(check_links(&[("a/link", "../../x")]).is_err());
    }

    #[test]
    fn a_link_out_by_way_of_another_is_found() {
        assert!(check_links(&[("a/up", ".."), ("b", "a/up/../x")]).is_err());
        assert!(check_links(&[("a/b/up", "../.."), ("c", "a/b/up/../x")]).is_err());
    }
}
