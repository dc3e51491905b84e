//! The same work on many things, side by side. What comes of it is in the order of the things.

use std::sync::atomic::{AtomicUsize, Ordering};

/// So many are taken at once: some things are more work than others, and those often stand together.
const BLOCK: usize = 16;

/// Does it to each.
pub fn map<T: Sync, R: Send>(things: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let blocks = things.len().div_ceil(BLOCK);
    // One thread is worth at least two blocks.
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(blocks / 2);
    if threads <= 1 {
        return things.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let take_turns = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(block) = things.chunks(BLOCK).nth(number) else { return done };
            done.push((number, block.iter().map(&work).collect::<Vec<R>>()));
        }
    };
    let mut done: Vec<(usize, Vec<R>)> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(take_turns)).collect();
        let mut done = take_turns();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(number, _)| *number);
    done.into_iter().flat_map(|(_, block)| block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_of_it_is_in_order() {
        for count in [0, 1, BLOCK, BLOCK * 2, BLOCK * 37 + 3] {
            let things: Vec<usize> = (0..count).collect();
            assert_eq!(
                map(&things, |thing| thing * 2),
                things.iter().map(|thing| thing * 2).collect::<Vec<_>>()
            );
        }
    }
}
