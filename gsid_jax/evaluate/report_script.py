"""The report's script: the ID tree that opens level by level, and its search box."""

JS = """
'use strict';
(() => {
  const holder = document.getElementById('tree-data');
  if (!holder) return;
  const data = JSON.parse(holder.textContent);
  // A node: [parent, code, items, children, queries, mix, purity, spu purity, titles, queries]
  const nodes = data.nodes, texts = data.texts;
  const PAGE = 40, RESULTS = 50;
  const colours = ['var(--c1)', 'var(--c2)', 'var(--c3)', 'var(--c4)'];
  const below = new Map();
  nodes.forEach((node, number) => {
    if (!below.has(node[0])) below.set(node[0], []);
    below.get(node[0]).push(number);
  });
  const count = value => value.toLocaleString('en');
  const percent = value => Math.round(100 * value) + '%';
  const path = number => {
    const parts = [];
    for (let at = number; at >= 0; at = nodes[at][0]) parts.unshift(nodes[at][1]);
    return parts.join('-');
  };
  const make = (tag, name, text) => {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  function row(number) {
    const [, , items, , , mix, , , titles] = nodes[number];
    const item = make('li');
    item.dataset.node = number;
    const button = make('button', 'node');
    button.type = 'button';
    button.setAttribute('aria-expanded', 'false');
    const turn = make('span', 'turn', '\\u203a');
    turn.setAttribute('aria-hidden', 'true');
    const what = make('span', 'what');
    what.append(mix.length ? data.categories[mix[0][0]] + ' ' + percent(mix[0][1]) : '');
    if (titles.length) what.append(make('small', '', texts[titles[0]]));
    const bar = make('span', 'mixbar');
    bar.title = mix.map(each => data.categories[each[0]] + ' ' + percent(each[1])).join(', ');
    mix.forEach((each, place) => {
      const part = make('i');
      part.style.width = 100 * each[1] + '%';
      part.style.background = colours[place % colours.length];
      bar.append(part);
    });
    button.append(turn, make('span', 'path', path(number)),
                  make('span', 'size', count(items)), what, bar);
    button.addEventListener('click', () => toggle(item));
    item.append(button);
    return item;
  }

  function list(heading, numbers) {
    const part = make('div');
    part.append(make('h4', '', heading));
    const lines = make('ul');
    numbers.slice(0, data.shown).forEach(number => lines.append(make('li', '', texts[number])));
    part.append(lines);
    return part;
  }

  function detail(number) {
    const [, , items, children, queries, mix, , spu, titles, asked] = nodes[number];
    const box = make('div', 'detail');
    box.append(list('Typical titles of ' + count(items) + (items === 1 ? ' item' : ' items'),
                    titles));
    box.append(list(queries ? 'Typical queries of ' + count(queries) : 'No query here', asked));
    const facts = mix.map(each => data.categories[each[0]] + ' ' + percent(each[1]));
    if (spu !== null) facts.push('largest product ' + percent(spu) + ' of the items');
    if (children) facts.push(count(children) + (children === 1 ? ' child' : ' children'));
    box.append(make('div', 'mix', facts.join('  \\u00b7  ')));
    return box;
  }

  function fill(into, parent, total) {
    const numbers = below.get(parent) || [];
    let shown = 0;
    const more = make('li', 'more');
    const button = make('button');
    button.type = 'button';
    more.append(button);
    const next = () => {
      numbers.slice(shown, shown + PAGE).forEach(number => into.insertBefore(row(number), more));
      shown = Math.min(shown + PAGE, numbers.length);
      const known = numbers.length - shown, unknown = total - numbers.length;
      button.hidden = !known;
      button.textContent = 'Show ' + Math.min(PAGE, known) + ' more of ' + count(known);
      if (!known && unknown > 0) {
        more.textContent = count(unknown) + ' smaller ones are not part of this page';
        more.classList.add('hint');
      } else if (!known) {
        more.remove();
      }
    };
    into.append(more);
    button.addEventListener('click', next);
    next();
    into.reveal = number => {
      while (shown < numbers.length && !into.querySelector(':scope > [data-node="' + number + '"]'))
        next();
    };
  }

  function toggle(item, open) {
    const button = item.firstElementChild;
    const isOpen = button.getAttribute('aria-expanded') === 'true';
    if (open === isOpen) return;
    button.setAttribute('aria-expanded', String(!isOpen));
    if (isOpen) {
      while (item.children.length > 1) item.lastElementChild.remove();
      return;
    }
    const number = Number(item.dataset.node);
    item.append(detail(number));
    if (nodes[number][3]) {
      const inner = make('ul');
      fill(inner, number, nodes[number][3]);
      item.append(inner);
    }
  }

  const root = document.getElementById('tree');
  fill(root, -1, (below.get(-1) || []).length);

  function reveal(number) {
    const chain = [];
    for (let at = number; at >= 0; at = nodes[at][0]) chain.unshift(at);
    let into = root, item = null;
    chain.forEach(at => {
      if (into.reveal) into.reveal(at);
      item = into.querySelector(':scope > [data-node="' + at + '"]');
      toggle(item, true);
      into = item.querySelector(':scope > ul') || into;
    });
    document.querySelectorAll('.found').forEach(each => each.classList.remove('found'));
    item.classList.add('found');
    item.scrollIntoView({block: 'center'});
    item.firstElementChild.focus({preventScroll: true});
  }

  const box = document.getElementById('tree-search');
  const results = document.getElementById('tree-results');
  const lower = texts.map(text => text.toLowerCase());
  let latest = [];

  function search() {
    const wanted = box.value.trim().toLowerCase();
    results.replaceChildren();
    latest = [];
    if (!wanted) return;
    if (/^\\d+(-\\d+)*$/.test(wanted)) {
      for (let n = 0; n < nodes.length && latest.length < RESULTS; n++)
        if (path(n) === wanted || path(n).startsWith(wanted + '-')) latest.push([n, '']);
    }
    const words = wanted.split(/\\s+/);
    const hits = new Set();
    lower.forEach((text, number) => {
      if (words.every(word => text.includes(word))) hits.add(number);
    });
    if (latest.length < RESULTS && hits.size) {
      for (let n = nodes.length - 1; n >= 0; n--) {  // the deepest are last
        const found = nodes[n][8].concat(nodes[n][9]).find(number => hits.has(number));
        if (found !== undefined && !nodes[n][3]) latest.push([n, texts[found]]);
      }
      if (!latest.length)
        nodes.forEach((node, n) => {
          const found = node[8].concat(node[9]).find(number => hits.has(number));
          if (found !== undefined) latest.push([n, texts[found]]);
        });
    }
    const all = latest.length;
    latest = latest.sort((a, b) => nodes[b[0]][2] - nodes[a[0]][2]).slice(0, RESULTS);
    results.append(make('p', 'note', !all ? 'Nothing found among the titles and queries shown here'
      : count(all) + (all === 1 ? ' ID' : ' IDs')
        + (all > RESULTS ? ', the largest ' + RESULTS + ' of them' : '')));
    const lines = make('ul');
    latest.forEach(([n, text]) => {
      const line = make('li');
      const button = make('button');
      button.type = 'button';
      button.append(make('span', 'id', path(n)), ' (' + count(nodes[n][2]) + ') ');
      const at = text.toLowerCase().indexOf(words[0]);
      if (at >= 0)
        button.append(text.slice(0, at), make('mark', '', text.slice(at, at + words[0].length)),
                      text.slice(at + words[0].length));
      else button.append(text);
      button.addEventListener('click', () => reveal(n));
      line.append(button);
      lines.append(line);
    });
    results.append(lines);
  }

  let timer = 0;
  box.addEventListener('input', () => { clearTimeout(timer); timer = setTimeout(search, 120); });
  box.addEventListener('keydown', event => {
    if (event.key !== 'Enter') return;
    clearTimeout(timer);
    search();
    if (latest.length) reveal(latest[0][0]);
  });
})();
"""
