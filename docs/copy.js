// The copy button of a console block takes its commands, without the prompt and without what they print.
document.addEventListener(
  "click",
  (event) => {
    const button = event.target.closest("[data-clipboard-target]");
    const code = button && document.querySelector(button.dataset.clipboardTarget);
    const lines = code ? code.innerText.split("\n") : [];
    if (!lines.some((line) => line.startsWith("$ "))) return;
    const commands = [];
    let goesOn = false; // a backslash at the end of a command's line
    for (const line of lines) {
      if (line.startsWith("$ ") || goesOn) {
        const command = line.replace(/^\$ /, "");
        commands.push(command);
        goesOn = command.endsWith("\\");
      }
    }
    button.dataset.clipboardText = commands.join("\n");
  },
  true, // before the theme's own handler reads it
);
