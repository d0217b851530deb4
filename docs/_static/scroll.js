// What scrolls within itself can be reached with the keyboard: formulas and drawings that are wider than the screen.
// (The theme does the same for code and tables.)
const scrolling = () => {
  for (const part of document.querySelectorAll("div.math mjx-container, figure.tt-figure, div.tt-wide")) {
    if (part.scrollWidth > part.clientWidth) part.tabIndex = 0;
    else part.removeAttribute("tabindex");
  }
};
// Code in a table breaks after a point, comma or bracket of a name, not within a word; what is short stays whole.
const breaking = () => {
  for (const word of document.querySelectorAll("table code span.pre")) {
    const parts = word.textContent.split(/(?<=\w{3}[._(/]|,)(?![\d)])|(?<==)(?=[\w.]{6})/);
    if (word.textContent.length < 15) word.classList.add("tt-whole");
    else if (parts.length > 1) {
      word.replaceChildren(...parts.flatMap((part, i) => (i ? [document.createElement("wbr"), part] : [part])));
    }
  }
};
window.addEventListener("load", () => {
  breaking();
  scrolling();
  window.MathJax?.startup?.promise?.then(scrolling);
});
window.addEventListener("resize", scrolling);
