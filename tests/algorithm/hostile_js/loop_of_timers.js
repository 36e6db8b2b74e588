onmessage = () => { setInterval(() => {}, 1); };
