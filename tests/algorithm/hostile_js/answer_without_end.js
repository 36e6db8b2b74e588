onmessage = () => { for (let i = 0; ; i++) postMessage({ body: i }); };
