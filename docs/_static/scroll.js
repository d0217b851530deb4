// What scrolls within itself can be reached with the keyboard: formulas and drawings that are wider than the screen.
// (The theme does the same for code and tables.)
const scrolling = () => {
  for (const part of document.querySelectorAll("div.math mjx-container, figure.tt-figure, div.tt-wide")) {
    if (part.scrollWidth > part.clientWidth) part.tabIndex = 0;
    else part.removeAttribute("tabindex");
  }
};
window.addEventListener("load", () => {
  scrolling();
  window.MathJax?.startup?.promise?.then(scrolling);
});
window.addEventListener("resize", scrolling);
