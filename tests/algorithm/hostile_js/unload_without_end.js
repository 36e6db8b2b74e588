addEventListener("beforeunload", (event) => event.preventDefault());
addEventListener("unload", () => { for (;;); });
onmessage = () => {};
