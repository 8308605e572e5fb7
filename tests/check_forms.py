"""check_forms.py: makes networks of each form by timm and transformers with random weights; prints the largest
difference of a logit (or feature) from theirs, over the largest, by the tool and by ONNX Runtime; then of the pruned
network (block 0 without attention and activation: a skip and a fitted map, and plainly, fused) by load_pruned.py and
ONNX Runtime from the tool; and whether one epoch of training goes. By hand, from
the root: python3 tests/check_forms.py (torch, timm, transformers, safetensors, onnxruntime, pillow)."""
import torch, torch.library
_o=torch.library.register_fake
def _rf(n,*a,**k):
    return (lambda f:f) if str(n).startswith("torchvision") else _o(n,*a,**k)
torch.library.register_fake=_rf
import os,json,subprocess,sys,torch,timm,onnxruntime,numpy as np
sys.path.insert(0,'examples'); import load_pruned
from functools import partial
from PIL import Image
torch.manual_seed(0); out='build/forms'; tool='build/boundarydpt'; os.makedirs(out,exist_ok=True)
def rand(m):
    g=torch.Generator().manual_seed(5)
    with torch.no_grad():
        for n,p in m.named_parameters():
            v=torch.randn(p.shape,generator=g)*0.25
            p.copy_(v+1 if ('norm' in n and n.endswith('weight')) else v)
    return m.eval()
rng=np.random.RandomState(1); pix=rng.randint(0,256,(32,32,3),dtype=np.uint8)
Image.fromarray(pix).save(out+'/p32.ppm'); Image.fromarray(rng.randint(0,256,(28,28,3),dtype=np.uint8)).save(out+'/p28.ppm')
def picture(size):  # one of the input's size, a number or (height, width)
    if isinstance(size,int): return 'p%d.ppm'%size
    Image.fromarray(np.random.RandomState(size[1]).randint(0,256,(*size,3),dtype=np.uint8)).save('%s/p%dx%d.ppm'%(out,*size))
    return 'p%dx%d.ppm'%size
for k in range(120):  # pictures to fit, to train and to compare on
    os.makedirs('%s/pictures/class%d'%(out,k%5),exist_ok=True)
    Image.fromarray(np.kron(rng.randint(0,256,(8,8,3)),np.ones((4,4,1))).astype(np.uint8)).save('%s/pictures/class%d/%03d.ppm'%(out,k%5,k))
DATA=['--data',out+'/pictures','--holdout','4']
def run(*words):
    r=subprocess.run([tool,*words],capture_output=True,text=True)
    return r.stdout if r.returncode==0 else 'refused: '+(r.stderr.strip() or r.stdout.strip()).split('\n')[-1][-150:]
def logits(path,pic):
    r=run('classify',path,out+'/'+pic,'--json','--logits','--threads','1')
    return np.array(json.loads(r)['logits']) if r.startswith('{') else r
def by_onnx(path,x):
    r=run('export',path,'--onnx',path+'.onnx')
    return r if r.startswith('refused') else onnxruntime.InferenceSession(path+'.onnx').run(None,{'images':x})[0]
def off(a,b):
    for v in (a,b):
        if isinstance(v,str): return v
    return '%.1e'%(np.abs(np.ravel(a)-np.ravel(b)).max()/np.abs(b).max()) if np.size(a)==np.size(b) else 'sizes %d and %d'%(np.size(a),np.size(b))
def pruned(path,pic,x):
    """The network with a skip and a map, and with both types removed and fused: PyTorch and ONNX against the tool."""
    said=[]
    for form,more in (('fitted',DATA[:2]),('fused',['--start','paper'])):
        p,q='%s.%s'%(path,form),'%s.%s.st'%(path,form)
        r=run('prune',path,'--attention','0','--activation','0',*more,'--out',p)
        if not r.startswith('refused'): r=run('fuse',p,*DATA[:2],'--out',q)
        if r.startswith('refused'): said+=[r]; continue
        with torch.no_grad(): y=logits(q,pic); said+=[off(load_pruned.Network(q)(torch.tensor(x)).numpy(),y),off(by_onnx(q,x),y)]
    return said
def check(name,path,pic,want):
    x=X[pic+str(MS[name])]; w=want.numpy().flatten(); first=logits(path,pic); row=[off(first,w)]
    if not isinstance(first,str):
        row+=[off(by_onnx(path,x),w),*pruned(path,pic,x)]
        if w.size==5:
            r=run('train','--from',path,*DATA,'--epochs','1','--images','32','--batch','16','--held','0','--out',path+'.st','--fresh')
            row+=['trains' if not r.startswith('refused') and float(off(logits(path+'.st',pic),first))>1e-4 else r]
    print('%-26s %s'%(name,' '.join(row)),flush=True)
print('%-26s %s'%('network','tool ONNX fitted:PyTorch ONNX fused:PyTorch ONNX'))
X={}; MS={}
def T(name,size=32,**kw):
    base=dict(img_size=size,patch_size=8,embed_dim=16,depth=2,num_heads=2,num_classes=5,mlp_ratio=2)
    base.update(kw)
    from timm.models.vision_transformer import VisionTransformer
    m=rand(VisionTransformer(**base))
    d=out+'/'+name; os.makedirs(d,exist_ok=True)
    args={k:v for k,v in base.items() if isinstance(v,(int,float,str,bool))}
    cfg={'architecture':'vit_tiny_patch16_224','num_classes':base['num_classes'],'num_features':base['embed_dim'],'global_pool':kw.get('global_pool','token'),'pretrained_cfg':{'input_size':[3,*(size if isinstance(size,tuple) else (size,size))],'mean':[.5,.5,.5],'std':[.5,.5,.5],'crop_pct':1.0,'interpolation':'bicubic'},'model_args':args}
    if 'qkv_bias' in kw: pass
    json.dump(cfg,open(d+'/config.json','w'))
    from safetensors.torch import save_file
    save_file({k:v.contiguous() for k,v in m.state_dict().items()},d+'/model.safetensors')
    pic=picture(size)
    x=(torch.tensor(np.array(Image.open(out+'/'+pic))).permute(2,0,1)[None].float()/255-.5)/.5
    MS[name]=.5; X[pic+'0.5']=x.numpy()
    check(name,d+'/model.safetensors',pic,m.double()(x.double()).detach())
T('plain'); T('layerscale',init_values=.3); T('layerscale_noembed',init_values=.1,no_embed_class=True,depth=3)
T('avg_fcnorm',global_pool='avg'); T('avg_normed',global_pool='avg',fc_norm=False); T('avg_noclass',global_pool='avg',class_token=False)
T('avg_noclass_normed',global_pool='avg',class_token=False,fc_norm=False,embed_dim=24,num_heads=3)
T('reg4',reg_tokens=4,no_embed_class=True); T('reg2_pos',reg_tokens=2); T('reg4_noclass',reg_tokens=4,class_token=False,no_embed_class=True,global_pool='avg',init_values=.2)
T('noqkv',qkv_bias=False); T('noqkv_avg',qkv_bias=False,global_pool='avg',depth=1); T('prenorm',pre_norm=True); T('quick',pre_norm=True,act_layer='quick_gelu')
T('tanh',act_layer='gelu_tanh'); T('relu',act_layer='relu'); T('headless',num_classes=0); T('headless_avg',num_classes=0,global_pool='avg'); T('patch14',size=28,patch_size=14); T('patch14_avg',size=28,patch_size=14,global_pool='avg',depth=1); T('patch32',patch_size=32); T('patch32_regs',patch_size=32,reg_tokens=2,depth=1,embed_dim=24,num_heads=3);
T('tanh_avg',act_layer='gelu_tanh',global_pool='avg'); T('relu_regs',act_layer='relu',reg_tokens=1); T('quick_plain',act_layer='quick_gelu',depth=1); T('prenorm_regs',pre_norm=True,reg_tokens=2);
T('wide',size=(32,48)); T('tall_bare',size=(48,16),class_token=False,reg_tokens=1,global_pool='avg',act_layer='relu',depth=1,init_values=.2)
T('reg1_headless',reg_tokens=1,num_classes=0,patch_size=16)
import transformers as tr
def H(name,cfg,cls,feat=None,size=32):
    m=rand(cls(cfg)); d=out+'/'+name; m.save_pretrained(d)
    json.dump({'do_resize':True,'do_rescale':True,'do_normalize':True,'image_mean':[.5]*3,'image_std':[.5]*3,'size':dict(zip(('height','width'),size if isinstance(size,tuple) else (size,size))),'resample':3,'rescale_factor':1/255,'image_processor_type':'ViTImageProcessor'},open(d+'/preprocessor_config.json','w'))
    pic=picture(size)
    x=(torch.tensor(np.array(Image.open(out+'/'+pic))).permute(2,0,1)[None].float()/255-.5)/.5
    MS[name]=.5; X[pic+'0.5']=x.numpy()
    with torch.no_grad(): o=m.double()(pixel_values=x.double())
    check(name,d+'/model.safetensors',pic,feat(o) if feat else o.logits)
b=dict(hidden_size=16,num_hidden_layers=2,num_attention_heads=2,image_size=32,patch_size=8,num_labels=5)
def go(*a,**k):
    try: H(*a,**k)
    except Exception as e: print(a[0],'python',repr(e)[:200])
go('hf_vit_tanh',tr.ViTConfig(intermediate_size=24,hidden_act='gelu_pytorch_tanh',**b),tr.ViTForImageClassification)
go('hf_vit_quick',tr.ViTConfig(intermediate_size=24,hidden_act='quick_gelu',qkv_bias=False,**b),tr.ViTForImageClassification)
go('hf_vit_relu',tr.ViTConfig(intermediate_size=24,hidden_act='relu',**b),tr.ViTForImageClassification)
go('hf_vit_model',tr.ViTConfig(intermediate_size=24,**b),tr.ViTModel,lambda o:o.last_hidden_state[:,0])
go('hf_vit_wide',tr.ViTConfig(intermediate_size=24,**{**b,'image_size':[32,48]}),tr.ViTForImageClassification,size=(32,48))
go('hf_deit_tall',tr.DeiTConfig(intermediate_size=40,hidden_act='relu',qkv_bias=False,**{**b,'image_size':[48,16],'num_hidden_layers':3}),tr.DeiTForImageClassification,size=(48,16))
go('hf_deit',tr.DeiTConfig(intermediate_size=24,**b),tr.DeiTForImageClassification)
go('hf_deit_deep',tr.DeiTConfig(intermediate_size=40,hidden_act='relu',qkv_bias=False,**{**b,'num_hidden_layers':3}),tr.DeiTForImageClassification)
go('hf_dinov2_deep',tr.Dinov2Config(mlp_ratio=3,qkv_bias=False,**{**b,'num_attention_heads':4}),tr.Dinov2ForImageClassification)
go('hf_dinov2_reg_model',tr.Dinov2WithRegistersConfig(mlp_ratio=2,num_register_tokens=1,**b),tr.Dinov2WithRegistersModel,lambda o:o.pooler_output)
go('hf_dinov2',tr.Dinov2Config(mlp_ratio=2,**b),tr.Dinov2ForImageClassification)
go('hf_dinov2_model',tr.Dinov2Config(mlp_ratio=2,**b),tr.Dinov2Model,lambda o:o.pooler_output)
go('hf_dinov2_reg',tr.Dinov2WithRegistersConfig(mlp_ratio=2,num_register_tokens=3,**b),tr.Dinov2WithRegistersForImageClassification)
c=dict(hidden_size=16,intermediate_size=32,num_hidden_layers=2,num_attention_heads=2,image_size=32,patch_size=8)
go('hf_clip',tr.CLIPVisionConfig(projection_dim=6,**c),tr.CLIPVisionModel,lambda o:o.pooler_output)
go('hf_clip_proj',tr.CLIPVisionConfig(projection_dim=6,hidden_act='gelu',**c),tr.CLIPVisionModelWithProjection,lambda o:o.image_embeds)
go('hf_siglip_nohead',tr.SiglipVisionConfig(vision_use_head=False,**c),tr.SiglipVisionModel,lambda o:o.last_hidden_state.mean(1))
go('hf_siglip_nohead_relu',tr.SiglipVisionConfig(vision_use_head=False,hidden_act='relu',**{**c,'num_hidden_layers':1}),tr.SiglipVisionModel,lambda o:o.last_hidden_state.mean(1))
go('hf_siglip',tr.SiglipVisionConfig(**c),tr.SiglipVisionModel,lambda o:o.pooler_output)
