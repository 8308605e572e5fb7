/* How the page looks, and what it does. */

/* 21  The style                                                                            >>style
 *
 * The colours follow the reader's system. From 1280 pixels on the contents stand beside the text;
 * under that they open from the bar at the top, and under 1100 pixels the code stands under its
 * prose. On paper the columns become one and each chapter starts a page.
 */
static const char *const style[] = {
  ":root{--ink:#23211d;--paper:#fdfcf8;--code:#f4f1e8;--faint:#6f6a60;--line:#e2dccd;"
  "--link:#8f3a1c;--word:#7a2f5b;--note:#506548;--text:#2a6275;--type:#2f5d8a;"
  "--hot:#f2d9b0;--cool:#cfe0ea;--warm:#f0cfc4;color-scheme:light dark}\n",
  "@media(prefers-color-scheme:dark){:root{--ink:#d9d5cb;--paper:#191a1c;--code:#212326;"
  "--faint:#98928a;--line:#34363a;--link:#e0a07c;--word:#d59cc0;--note:#9db58f;--text:#8fc1d3;"
  "--type:#93b7e0;--hot:#6b5027;--cool:#2c4a5a;--warm:#6a3d31}}\n",
  "*{box-sizing:border-box}html{scroll-padding-top:3.6rem}body{margin:0;background:var(--paper);"
  "color:var(--ink);font:17px/1.5 Charter,'Bitstream Charter','Iowan Old Style',Palatino,"
  "'Palatino Linotype',Georgia,'DejaVu Serif',serif;overflow-wrap:break-word}",
  "a{color:var(--link);text-decoration:none}a:hover{text-decoration:underline}",
  "code,pre,.tag,.here,.n{font-family:ui-monospace,'SF Mono',Menlo,Consolas,'DejaVu Sans Mono',"
  "'Liberation Mono',monospace}code,.tag{font-size:.82em}pre .tag{font-size:1em}"
  "code a{color:inherit;border-bottom:1px dotted var(--faint)}\n",
  ".bar{position:sticky;top:0;z-index:9;display:flex;gap:.8rem;align-items:center;height:3rem;"
  "padding:0 1.2rem;background:var(--paper);border-bottom:1px solid var(--line);font-size:15px}"
  ".bar button,.bar input{font:inherit;color:inherit;background:var(--code);border:1px solid "
  "var(--line);border-radius:4px;padding:.2rem .6rem;height:2rem}"
  ".bar>b{font-weight:600}.bar .place{flex:1;min-width:0;overflow:hidden;"
  "text-overflow:ellipsis;white-space:nowrap;color:var(--faint)}.bar .find{position:relative}"
  ".bar input{width:17rem;max-width:42vw}html:not(.js) .bar{display:none}\n",
  "#found{position:absolute;right:0;top:2.4rem;width:min(34rem,calc(100vw - 1.2rem));margin:0;"
  "padding:.3rem 0;list-style:none;background:var(--paper);border:1px solid var(--line);"
  "border-radius:4px;max-height:70vh;overflow:auto;box-shadow:0 6px 24px rgba(0,0,0,.18)}"
  "#found:empty{display:none}#found a{display:flex;gap:.8rem;padding:.3rem .9rem;color:inherit}"
  "#found small{color:var(--faint);flex:0 0 5.2em}#found a:hover,#found .on a{background:"
  "var(--code);text-decoration:none}#found mark{background:none;color:var(--link)}\n",
  "header.top{padding:2.2rem 3vw .2rem}h1{font-size:2.3rem;margin:0;font-weight:600}"
  "header.top p{margin:.3rem 0;color:var(--faint)}",
  "nav{padding:1.5rem 3vw 3rem;columns:3 19rem;column-gap:3rem;font-size:15px;line-height:1.4}"
  "nav ul{list-style:none;margin:0 0 .7rem;padding:0}nav li li{padding-left:1.1rem}"
  "nav>ul>li{break-inside:avoid}nav>ul>li>a{font-size:.86em;letter-spacing:.03em}"
  "nav a{color:inherit;display:block;padding:.06rem .3rem;border-radius:3px}"
  "nav .number{color:var(--faint)}nav .on{background:var(--hot)}\n",
  "h2,h3{line-height:1.2;font-weight:600}h2{font-size:1.6rem;margin:1.6rem 0 1rem}"
  "h3{font-size:1.15rem;margin:1rem 0 .6rem}h4{margin:.2rem 0 .5rem;font-size:1.02em}"
  ".number{color:var(--link);margin-right:.35em}.here{font-size:.7rem;color:var(--faint);"
  "font-weight:400;margin-left:.5em}",
  "section{display:grid;grid-template-columns:39% 61%}section.chapter{border-top:1px solid "
  "var(--line)}section>div{min-width:0;padding:.6rem 2rem .6rem 2.4vw}.stay>*{position:sticky;"
  "top:3.2rem}p{margin:.1rem 0 .8rem}.question{font-style:italic;font-size:1.12em;"
  "color:var(--link)}\n",
  "section>pre{margin:0;min-width:0;padding:.8rem 1rem 1.6rem .2rem;background:var(--code);"
  "font-size:clamp(10.4px,.8vw,11.8px);line-height:1.5;overflow-x:auto}div pre{font-size:.72rem;"
  "line-height:1.45;overflow-x:auto;margin:.2rem 0 1rem;padding-left:.8rem;border-left:2px solid "
  "var(--line)}",
  "dl{display:grid;grid-template-columns:minmax(4.4rem,max-content) 1fr;gap:.35rem .8rem;"
  "margin:0 0 .8rem;font-size:.95em}dt{color:var(--faint);font-style:italic}dt a{color:inherit}"
  "dd{margin:0;min-width:0}.f{display:inline-block;margin-right:1.1em;max-width:100%}"
  ".formula{line-height:1.75;overflow-x:auto;overflow-y:hidden}.formula .f{margin-bottom:.3em}"
  ".lines p{margin:.2rem 0 .2rem 1.2rem}.k{white-space:nowrap}"
  ".remark{color:var(--faint);font-size:.9em}math{font-size:1.04em;"
  "font-family:'STIX Two Math','Cambria Math','Libertinus Math','Latin Modern Math',"
  "'TeX Gyre Pagella Math','DejaVu Math TeX Gyre',math}\n",
  ".wide{grid-template-columns:1fr}.wide>div{max-width:52rem}.close>div{padding-top:0}"
  ".gained,.exercise,.example{border-left:3px solid var(--line);padding:.1rem 0 .1rem 1rem;"
  "margin:.9rem 0}.example{border-color:var(--text)}.gained{border-color:var(--link)}"
  "details{margin:-.4rem 0 1rem 1.2rem;font-size:.95em}summary{color:var(--link);cursor:pointer}"
  ".back{font-size:.86em;color:var(--faint)}.scroll{overflow-x:auto}\n",
  "td .f{margin-right:0}.full>div{max-width:none}table{border-collapse:"
  "collapse;font-size:.88em}td,th{text-align:left;vertical-align:top;"
  "padding:.4rem 1rem .4rem 0;border-bottom:1px solid var(--line)}",
  "pre b{color:var(--word);font-weight:400}pre i{color:var(--note)}pre q{quotes:none;"
  "color:var(--text)}pre em{color:var(--word);font-style:normal}pre u{color:var(--text);"
  "text-decoration:none}pre s{color:var(--type);text-decoration:none}"
  "pre a:not(.n):not(.tag){color:inherit}pre .def{font-weight:600}",
  ".n{display:inline-block;width:3.6em;margin-right:1em;text-align:right;color:var(--faint);"
  "opacity:.75;user-select:none}:target,.flash{background:color-mix(in srgb,var(--link) 18%,"
  "transparent)}\n",
  "figure{margin:1rem 0}figure svg{width:100%;max-width:40rem;height:auto;display:block}"
  ".pens{position:absolute}figcaption{font-size:.9em;color:var(--faint);margin-top:.4rem}"
  "svg text{font:14.5px ui-sans-serif,system-ui,'DejaVu Sans',sans-serif;fill:var(--ink)}"
  "svg .mid{text-anchor:middle}svg .end{text-anchor:end}svg .small{font-size:13px}"
  "svg .strong{font-weight:600}svg .faint{fill:var(--faint)}svg text.back{fill:var(--link)}"
  ".node{fill:var(--code);stroke:var(--ink)}.node.hot{fill:var(--hot)}.gone{fill:none;"
  "stroke:var(--faint);stroke-dasharray:4 4}.cell{fill:var(--code);stroke:var(--line)}",
  ".cell.a{fill:var(--cool)}.cell.b{fill:var(--hot)}.cell.c{fill:var(--warm)}line.fore{"
  "stroke:var(--ink)}line.back{stroke:var(--link);stroke-width:1.5}.headfore{fill:var(--ink)}"
  ".headback{fill:var(--link)}.contour{fill:none;stroke:var(--text);opacity:.6}.contour.bold{"
  "stroke-width:2.2;opacity:1}.dot{fill:var(--ink)}.ring{fill:none;stroke:var(--link);"
  "stroke-width:2}.hit{fill:var(--link)}\n",
  "@media(min-width:1280px){nav{position:fixed;left:0;top:0;bottom:0;width:15rem;columns:auto;"
  "overflow:auto;padding:1rem .8rem 3rem 1rem;font-size:13.5px;border-right:1px solid var(--line);"
  "background:var(--paper);z-index:10}.bar,header.top,main,footer{margin-left:15rem}.bar button{"
  "display:none}}\n",
  "@media(max-width:1279px){.js nav{display:none;position:fixed;left:0;top:3rem;bottom:0;z-index:8;"
  "width:min(22rem,100vw);columns:auto;overflow:auto;background:var(--paper);border-right:1px "
  "solid var(--line);padding:1rem 1rem 3rem}.js nav.open{display:block}}\n",
  "@media(max-width:1099px){section{display:block}section>div{padding:.6rem 1.1rem}section>pre{"
  "font-size:11px;padding-left:0}.stay>*{position:static}.bar{padding:0 .6rem;gap:.5rem}.bar>b{"
  "display:none}.n{width:2.9em;margin-right:.7em}dl{grid-template-columns:1fr;gap:.1rem}"
  "dd{margin-bottom:.4rem}}\n",
  "@media print{body{font-size:10pt}.bar{display:none}nav,.js nav{display:block;position:static;"
  "width:auto;columns:2;break-after:page;border:0}.bar,header.top,main,footer{margin-left:0}"
  "section{display:block}section>pre{font-size:6.6pt;white-space:pre-wrap;overflow:visible}"
  ".stay>*{position:static}section.chapter{break-before:page}h2,h3,dt{break-after:avoid}figure,"
  ".example{break-inside:avoid}a{color:inherit}details::details-content{content-visibility:visible;"
  "display:block}}\n",
  NULL};

/* 22  The script                                                                          >>script
 *
 * It marks the reader's place in the contents and in the bar, and searches: names, titles, terms,
 * formulas and drawings from a list that the weaver made, then the words of the page itself.
 * Without it the page is whole, only still.
 */
static const char *const script[] = {
  "(function(){var d=document,root=d.documentElement,by=function(i){return d.getElementById(i)};\n",
  "root.className='js';var nav=by('contents'),place=by('place'),find=by('find'),"
  "list=by('found');\n",
  "var heads=[].slice.call(d.querySelectorAll('main h2[id],main h3[id]')),link={},"
  "here=null,at=-1;\n",
  "[].forEach.call(nav.querySelectorAll('a'),function(a){\n",
  "link[a.getAttribute('href').slice(1)]=a});\n",
  "function look(){var lo=0,hi=heads.length,y=innerHeight*.3;while(lo<hi){var m=(lo+hi)>>1;\n",
  "if(heads[m].getBoundingClientRect().top<y)lo=m+1;else hi=m}\n",
  "var h=heads[lo-1];if(h===here)return;if(here&&link[here.id])"
  "link[here.id].classList.remove('on');\nhere=h;var a=h&&link[h.id];\n",
  "place.textContent=a?a.textContent:'';if(!a)return;\n",
  "a.classList.add('on');var t=a.offsetTop;if(t<nav.scrollTop||t>nav.scrollTop+nav.clientHeight-60)"
  "nav.scrollTop=t-nav.clientHeight/2}\n",
  "var wait=0;addEventListener('scroll',function(){if(!wait){wait=1;requestAnimationFrame("
  "function(){wait=0;look()})}},{passive:true});addEventListener('resize',look);look();\n",
  "by('menu').onclick=function(){nav.classList.toggle('open');look()};\n",
  "nav.onclick=function(){nav.classList.remove('open')};\n",
  "var kinds={s:'section',f:'function',t:'type',m:'macro',c:'constant',g:'term',e:'formula',"
  "p:'paper',d:'drawing',x:'exercise',w:'text'},order='gsftpdemcx',words=null;\n",
  "function rank(e,q){var s=e[1].toLowerCase(),i=s.indexOf(q),r;if(i<0){var all=q.split(/\\s+/);\n",
  "for(var k=0;k<all.length;k++)if(s.indexOf(all[k])<0)return -1;r=10}\n",
  "else if(s===q)r=100;else if(i===0)r=60;else if(/\\W|_/.test(s[i-1]))r=40;else r=20;\n",
  "return r+10-order.indexOf(e[0])-s.length/200}\n",
  "function text(q,room){if(!words)words=[].map.call(d.querySelectorAll('main p,main dd,main "
  "figcaption'),function(p){return [p,p.textContent.replace(/\\s+/g,' ')]});var out=[];\n",
  "for(var i=0;i<words.length&&out.length<room;i++){var j=words[i][1].toLowerCase().indexOf(q);\n",
  "if(j>=0)out.push(['w',words[i][1].slice(Math.max(0,j-30),j+70),words[i][0]])}return out}\n",
  "function search(q){q=q.trim().toLowerCase();if(q.length<1)return [];var hits=[];\n",
  "INDEX.forEach(function(e){var r=rank(e,q);if(r>=0)hits.push([r,e])});\n",
  "hits.sort(function(a,b){return b[0]-a[0]});hits=hits.slice(0,14).map("
  "function(h){return h[1]});\n",
  "return q.length>2?hits.concat(text(q,20-hits.length)):hits}\n",
  "function go(e){list.textContent='';find.blur();var t=typeof e[2]==='object'?"
  "e[2]:by(e[2]||e[1]);\n",
  "if(!t)return;for(var p=t;p;p=p.parentNode)if(p.tagName==='DETAILS')p.open=true;\n",
  "if(typeof e[2]!=='object')location.hash=e[2]||e[1];t.scrollIntoView();scrollBy(0,-60);\n",
  "t.classList.add('flash');setTimeout(function(){t.classList.remove('flash')},1600)}\n",
  "function show(){list.textContent='';at=-1;search(find.value).forEach(function(e){\n",
  "var li=d.createElement('li'),a=d.createElement('a'),s=d.createElement('small');\n",
  "s.textContent=kinds[e[0]];a.href='#'+(typeof e[2]==='object'?'':e[2]||e[1]);a.appendChild(s);\n",
  "a.appendChild(d.createTextNode(e[1]));a.onclick=function(v){v.preventDefault();go(e)};\n",
  "li.appendChild(a);list.appendChild(li)})}\n",
  "find.oninput=show;find.onfocus=show;d.addEventListener('click',function(v){\n",
  "if(!find.parentNode.contains(v.target))list.textContent=''});\n",
  "find.onkeydown=function(v){var li=list.children;if(v.key==='Escape'){list.textContent='';"
  "find.blur()}\n",
  "else if(v.key==='ArrowDown'||v.key==='ArrowUp'){if(at>=0&&li[at])li[at].className='';\n",
  "at=Math.max(0,Math.min(li.length-1,at+(v.key==='ArrowDown'?1:-1)));if(li[at]){"
  "li[at].className='on';li[at].scrollIntoView({block:'nearest'})}v.preventDefault()}\n",
  "else if(v.key==='Enter'){var a=li[Math.max(at,0)];if(a)a.firstChild.click()}};\n",
  "d.addEventListener('keydown',function(v){if(v.key==='/'&&d.activeElement!==find){find.focus();"
  "v.preventDefault()}});\n",
  "window.bookSearch=search;var q=/[?&]q=([^&]*)/.exec(location.search);\n",
  "if(q){find.value=decodeURIComponent(q[1]);show()}\n",
  "if(location.hash)by(location.hash.slice(1))&&by(location.hash.slice(1)).scrollIntoView()})();\n",
  NULL};
