onmessage = () => {
  const all = [];
  for (let i = 0; ; i++) {
    let text = String(i).padEnd(1 << 20, "\u2603");
    all.push(text);
  }
};
