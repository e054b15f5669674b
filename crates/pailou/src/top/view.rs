//! State of the display: which view, sorted and filtered how, and where the cursor is.

use std::collections::HashMap;

use super::keys::Key;

/// A view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum View {
    Now,
    Routes,
    Pools,
    Models,
    Requests,
    Limits,
}

impl View {
    pub(super) const ALL: [Self; 6] = [Self::Now, Self::Routes, Self::Pools, Self::Models, Self::Requests, Self::Limits];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Now => "Now",
            Self::Routes => "Routes",
            Self::Pools => "Pools",
            Self::Models => "Models",
            Self::Requests => "Requests",
            Self::Limits => "Limits",
        }
    }

    fn moved(self, steps: usize) -> Self {
        let at = Self::ALL.iter().position(|view| *view == self).unwrap_or(0);
        Self::ALL[(at + steps) % Self::ALL.len()]
    }
}

/// State of the display.
#[derive(Debug)]
pub(super) struct Display {
    pub(super) view: View,
    /// Text that rows are filtered by, by view.
    filters: HashMap<View, String>,
    /// Column and whether it descends, by view.
    sorts: HashMap<View, (usize, bool)>,
    /// The row of the cursor.
    pub(super) cursor: usize,
    /// The filter is being typed.
    pub(super) is_typing: bool,
    pub(super) overlay: Overlay,
    /// First line of it that is shown.
    pub(super) overlay_top: usize,
}

/// Lines over the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overlay {
    None,
    Help,
    /// The receipt at the cursor.
    Receipt,
}

/// Change by a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Draw,
    /// Other rows are wanted.
    Ask,
    Quit,
}

impl Display {
    pub(super) fn new() -> Self {
        Self {
            view: View::Now,
            filters: HashMap::new(),
            sorts: HashMap::new(),
            cursor: 0,
            is_typing: false,
            overlay: Overlay::None,
            overlay_top: 0,
        }
    }

    /// Text that rows are filtered by.
    pub(super) fn filter(&self) -> &str {
        self.filters.get(&self.view).map_or("", String::as_str)
    }

    /// Column that rows are sorted by, and whether it descends.
    pub(super) fn sort(&self) -> Option<(usize, bool)> {
        self.sorts.get(&self.view).copied()
    }

    /// Acts on a key. The view has so many rows and columns, and so many rows fit.
    pub(super) fn press(&mut self, key: Key, rows: usize, columns: usize, page: usize) -> Effect {
        if self.is_typing {
            return self.typed(key);
        }
        if self.overlay != Overlay::None {
            return self.press_over(key, page);
        }
        let last = rows.saturating_sub(1);
        match key {
            Key::Interrupt | Key::Character('q') => return Effect::Quit,
            Key::Character(digit @ '1'..='6') => return self.show(View::ALL[digit as usize - '1' as usize]),
            Key::Tab | Key::Right | Key::Character('l') => return self.show(self.view.moved(1)),
            Key::BackTab | Key::Left | Key::Character('h') => return self.show(self.view.moved(View::ALL.len() - 1)),
            Key::Character('?') => self.open(Overlay::Help),
            Key::Character('/') => self.is_typing = true,
            Key::Escape => {
                self.filters.remove(&self.view);
                return Effect::Ask;
            }
            Key::Enter if self.view == View::Requests && rows > 0 => self.open(Overlay::Receipt),
            Key::Character('s') if columns > 0 => self.sort_by_next(columns),
            Key::Character('S') => {
                let (column, descends) = self.sort().unwrap_or((0, false));
                self.sorts.insert(self.view, (column, !descends));
            }
            Key::Down | Key::Character('j') => self.cursor += 1,
            Key::Up | Key::Character('k') => self.cursor = self.cursor.saturating_sub(1),
            Key::PageDown | Key::Character(' ') => self.cursor += page,
            Key::PageUp => self.cursor = self.cursor.saturating_sub(page),
            Key::Home | Key::Character('g') => self.cursor = 0,
            Key::End | Key::Character('G') => self.cursor = last,
            Key::Enter | Key::Backspace | Key::Character(_) => {}
        }
        self.cursor = self.cursor.min(last);
        Effect::Draw
    }

    fn show(&mut self, view: View) -> Effect {
        (self.view, self.cursor) = (view, 0);
        Effect::Ask
    }

    fn open(&mut self, overlay: Overlay) {
        (self.overlay, self.overlay_top) = (overlay, 0);
    }

    /// Columns of numbers are read from the greatest.
    fn sort_by_next(&mut self, columns: usize) {
        let next = self.sort().map_or(0, |(column, _)| (column + 1) % columns);
        self.sorts.insert(self.view, (next, next > 0));
    }

    fn press_over(&mut self, key: Key, page: usize) -> Effect {
        match key {
            Key::Interrupt => return Effect::Quit,
            Key::Down | Key::Character('j') => self.overlay_top += 1,
            Key::Up | Key::Character('k') => self.overlay_top = self.overlay_top.saturating_sub(1),
            Key::PageDown | Key::Character(' ') => self.overlay_top += page,
            Key::PageUp => self.overlay_top = self.overlay_top.saturating_sub(page),
            Key::Escape | Key::Enter | Key::Character('q' | '?') => self.overlay = Overlay::None,
            _ => {}
        }
        Effect::Draw
    }

    fn typed(&mut self, key: Key) -> Effect {
        let filter = self.filters.entry(self.view).or_default();
        match key {
            Key::Interrupt => return Effect::Quit,
            Key::Enter => self.is_typing = false,
            Key::Escape => {
                filter.clear();
                self.is_typing = false;
            }
            Key::Backspace => drop(filter.pop()),
            Key::Character(character) if filter.len() < 128 => filter.push(character),
            _ => return Effect::Draw,
        }
        self.cursor = 0;
        Effect::Ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pressed(display: &mut Display, keys: &[Key]) -> Effect {
        keys.iter().map(|key| display.press(*key, 3, 4, 10)).last().unwrap()
    }

    #[test]
    fn keys_lead_from_view_to_view_and_out() {
        let mut display = Display::new();
        assert_eq!((pressed(&mut display, &[Key::BackTab]), display.view), (Effect::Ask, View::Limits));
        assert_eq!((pressed(&mut display, &[Key::Tab, Key::Character('3')]), display.view), (Effect::Ask, View::Pools));
        assert_eq!(pressed(&mut display, &[Key::Character('?'), Key::Character('q')]), Effect::Draw);
        assert_eq!(pressed(&mut display, &[Key::Character('q')]), Effect::Quit);
    }

    #[test]
    fn a_filter_is_of_its_view_and_takes_every_character() {
        let mut display = Display::new();
        pressed(&mut display, &[Key::Character('/'), Key::Character('q'), Key::Character('1'), Key::Backspace, Key::Enter]);
        assert_eq!((display.filter(), display.is_typing), ("q", false));
        pressed(&mut display, &[Key::Tab]);
        assert_eq!(display.filter(), "");
        pressed(&mut display, &[Key::BackTab, Key::Escape]);
        assert_eq!(display.filter(), "");
    }

    #[test]
    fn the_cursor_stays_within_the_rows() {
        let mut display = Display::new();
        pressed(&mut display, &[Key::PageDown]);
        assert_eq!(display.cursor, 2);
        pressed(&mut display, &[Key::Up, Key::Up, Key::Up]);
        assert_eq!(display.cursor, 0);
        assert_eq!(display.press(Key::End, 0, 0, 10), Effect::Draw);
        assert_eq!(display.cursor, 0);
    }

    #[test]
    fn the_sorted_column_moves_on_and_turns() {
        let mut display = Display::new();
        pressed(&mut display, &[Key::Character('s'), Key::Character('s')]);
        assert_eq!(display.sort(), Some((1, true)));
        pressed(&mut display, &[Key::Character('S')]);
        assert_eq!(display.sort(), Some((1, false)));
        pressed(&mut display, &[Key::Character('s'); 3]);
        assert_eq!(display.sort(), Some((0, false)));
    }
}
